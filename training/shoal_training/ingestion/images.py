"""Pictures in folders, of which each folder's name is the label of the pictures in it."""

import hashlib
import io
import warnings
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, ClassVar, Final, Literal

import numpy as np
from pydantic import Field

from shoal_training.errors import DataError
from shoal_training.ingestion.found_files import FoundFiles, find_files
from shoal_training.ingestion.source import MAX_BATCH_BYTES, Reading, Source
from shoal_training.ingestion.tensors import tensor_array, tensor_type

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_MODES: Final = {"rgb": "RGB", "grey": "L"}
_MAX_SIDE: Final = 4_096
_MAX_FILE_BYTES: Final = 64 << 20


class ImageSource(Source):
    """Pictures by folder, in the order of their paths: `image`, (height, width, channels) uint8, and `label`."""

    kind: ClassVar[str] = "images"

    path: str = Field(min_length=1, max_length=4096)
    """A folder with a folder a label; relative to the pipeline file, or a URL."""
    height: int = Field(ge=1, le=_MAX_SIDE)
    width: int = Field(ge=1, le=_MAX_SIDE)
    colours: Literal["rgb", "grey"] = "rgb"
    other_sizes: Literal["resize", "refuse"] = "resize"
    """What is done with pictures of another size: stretched to this one, by a linear filter, or left out."""
    image_column: str = Field(default="image", min_length=1, max_length=256)
    label_column: str = Field(default="label", min_length=1, max_length=256)

    @property
    def label(self) -> str:
        """See `Source`."""
        return self.name or self.path

    def schema_of(self, reading: Reading) -> "pa.Schema":  # noqa: ARG002 - it is declared
        """See `Source`."""
        import pyarrow as pa

        shape = (self.height, self.width, 3 if self.colours == "rgb" else 1)
        return pa.schema([(self.image_column, tensor_type(pa.uint8(), shape)), (self.label_column, pa.string())])

    def tables(self, reading: Reading) -> Iterator["pa.Table"]:
        """See `Source`."""
        import pyarrow as pa

        schema = self.schema_of(reading)
        files = self._files(reading)
        size = self.height * self.width * 3
        at_once = max(1, min(reading.batch_rows, MAX_BATCH_BYTES // size))
        for start in range(0, len(files.paths), at_once):
            pictures, labels = [], []
            for path in files.paths[start : start + at_once]:
                picture = self._picture(files, path, reading)
                if picture is not None:
                    pictures.append(picture)
                    labels.append(PurePosixPath(path).parent.name)
            if pictures:
                yield pa.table([tensor_array(np.stack(pictures)), pa.array(labels)], schema=schema)
            reading.progress(f"read {self.label}", min(start + at_once, len(files.paths)), len(files.paths))

    def fingerprint(self, reading: Reading) -> str | None:
        """See `Source`: over names, sizes and times of change, or what the store calls its version."""
        files = self._files(reading)
        return hashlib.sha256("\n".join(files.stamp(path) for path in files.paths).encode()).hexdigest()

    def _files(self, reading: Reading) -> FoundFiles:
        files = find_files(self.path, reading.folder, SUFFIXES)
        unlabelled = [path for path in files.paths if PurePosixPath(path).parent == PurePosixPath(files.root)]
        if unlabelled:
            raise DataError(
                f"reading {files.shown(unlabelled[0])}: it lies in no folder that says its label; put it into "
                f"{self.path}/LABEL/"
            )
        return files

    def _picture(self, files: FoundFiles, path: str, reading: Reading) -> "npt.NDArray[np.uint8] | None":
        """Decode one picture, (height, width, channels); None: it is refused."""
        from PIL import Image, UnidentifiedImageError

        with files.reaching(path), files.filesystem.open(path, "rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                return self._decoded(data)
        except (OSError, ValueError, SyntaxError, EOFError, Warning, Image.DecompressionBombError) as error:
            found = "it is no picture" if isinstance(error, UnidentifiedImageError) else str(error)
            reading.refuse(files.shown(path), None, f"{found}; mend the picture, or take it away")
        return None

    def _decoded(self, data: bytes) -> "npt.NDArray[np.uint8]":
        from PIL import Image

        if len(data) > _MAX_FILE_BYTES:
            raise ValueError(f"it has more than {_MAX_FILE_BYTES >> 20} MiB")
        with Image.open(io.BytesIO(data)) as opened:
            if opened.size != (self.width, self.height) and self.other_sizes == "refuse":
                raise ValueError(
                    f"{opened.size[0]} x {opened.size[1]} pixels found, {self.width} x {self.height} expected"
                )
            picture = opened.convert(_MODES[self.colours])
        if picture.size != (self.width, self.height):
            picture = picture.resize((self.width, self.height), Image.Resampling.BILINEAR)
        return np.asarray(picture, dtype=np.uint8).reshape(self.height, self.width, -1)
