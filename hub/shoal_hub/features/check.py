"""What a device would refuse of a feature set, said before any device is told. Pure."""

from shoal_contract.features import DesiredFeatures, Pipeline
from shoal_contract.limits import MAX_FEATURES_BYTES
from shoal_hub.errors import InvalidInputError
from shoal_hub.strict_body import require_plain_text
from shoal_numerics import FeatureError
from shoal_numerics.features import WindowPlan


def size_bytes(body: DesiredFeatures) -> int:
    """Return what a set takes of a desired state."""
    return len(body.model_dump_json().encode())


def check_set(name: str, body: DesiredFeatures) -> None:
    """See that every device whose owner allows the files and addresses can compute it.

    Raises:
        InvalidInputError: It can not be computed, is too large, or is empty.
    """
    if not body.pipelines:
        raise InvalidInputError(
            f"setting features {name}: it has no pipeline, so that nothing would be computed", "give it a pipeline"
        )
    require_plain_text(f"setting features {name}", body)
    for defined, definition in body.definitions.items():
        try:
            WindowPlan.of(definition)
        except FeatureError as error:
            raise InvalidInputError(
                f"setting features {name}: computing the definition {defined!r}: {error}", "correct the definition"
            ) from error
    for pipeline, declared in body.pipelines.items():
        _check_pipeline(f"setting features {name}: pipeline {pipeline!r}", declared, body)
    if (size := size_bytes(body)) > MAX_FEATURES_BYTES:
        raise InvalidInputError(
            f"setting features {name}: definitions and pipelines take {size} bytes, at most {MAX_FEATURES_BYTES} have "
            "room in a state",
            "split it into several sets for different devices, or compute less",
        )


def _check_pipeline(doing: str, declared: Pipeline, body: DesiredFeatures) -> None:
    for defined in declared.definitions:
        if defined not in body.definitions:
            raise InvalidInputError(
                f"{doing}: computing the definition {defined!r}: the set has "
                f"{', '.join(sorted(body.definitions)) or 'none'}",
                "define it, or take it out of the pipeline",
            )
    for reference in declared.model.features if declared.model else ():
        defined, feature = reference.split("/", 1)
        if defined not in declared.definitions or feature not in body.definitions[defined].features:
            raise InvalidInputError(
                f"{doing}: building the input of its model: there is no feature {reference}",
                "name features of the pipeline's own definitions",
            )
