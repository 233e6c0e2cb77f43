"""A version's processing on this device, by `shoal_numerics.processing`, with errors that the hub can be told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from shoal_agent.processing.errors import MissingColumnError, ProcessingError
from shoal_contract.manifest import VersionManifest
from shoal_numerics.processing import errors, pipeline
from shoal_numerics.processing.made import Prepared
from shoal_numerics.processing.pipeline import MAX_PIXELS, Declared
from shoal_numerics.tensors import Array


class Pipeline(pipeline.Pipeline):
    """What is done before and after a version's model. Holds no state: any thread may use it.

    Args:
        manifest: The version's; what it does not declare is taken and given as it is.
        max_pixels: This device's own bound of one image.
    """

    def __init__(self, manifest: VersionManifest, max_pixels: int = MAX_PIXELS) -> None:
        features = tuple(feature.name for feature in manifest.baseline.features)
        declared = Declared(manifest.inputs, manifest.outputs, manifest.labels, manifest.processing, features)
        super().__init__(declared, max_pixels)

    def prepare(self, columns: Mapping[str, Array], samples: int) -> Prepared:
        """Make the model's inputs; see the base class.

        Raises:
            ProcessingError: The agent's: a column is missing, or a library.
        """
        with _told_by_the_agent():
            return super().prepare(columns, samples)

    def read(self, outputs: Mapping[str, Array], prepared: Prepared) -> dict[str, Array]:
        """Return what the model's answer means; see the base class.

        Raises:
            ProcessingError: The agent's: an output has another shape than what is declared of it asks for.
        """
        with _told_by_the_agent():
            return super().read(outputs, prepared)


@contextmanager
def _told_by_the_agent() -> Iterator[None]:
    try:
        yield
    except errors.MissingColumnError as error:
        raise MissingColumnError(str(error), error.remedy or None) from error
    except errors.ProcessingError as error:
        raise ProcessingError(str(error), error.remedy or None) from error
