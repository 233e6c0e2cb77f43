"""The limit before production: what a model card says to be unfair beyond its makers' limits stays out."""

from shoal_hub.errors import ConflictError
from shoal_hub.registry.tables import Version
from shoal_training.model_card import ModelCard


def check_fair(version: Version, *, is_required: bool = False) -> None:
    """See that a version may become production, by what its model card says of fairness.

    Args:
        version: That is to be moved.
        is_required: Whether it has to say something of it at all.

    Raises:
        ConflictError: A figure is beyond its limit, or there is none where the hub asks for some.
    """
    doing = f"moving {version.model} version {version.number} to production"
    figures = ModelCard.model_validate(version.card or {}).fairness
    beyond = [f"{one.measure} by {one.slice} is {one.value:.3g}, its limit {one.limit:g}" for one in figures
              if not one.is_within and one.limit is not None]  # fmt: skip
    if beyond:
        raise ConflictError(
            f"{doing}: its model card says that it is not fair enough: {'; '.join(beyond)}",
            "train a version that keeps its limits, and register that",
        )
    if is_required and not figures:
        raise ConflictError(
            f"{doing}: its model card says nothing of fairness, and this hub asks for it",
            "name protected columns in `model_evaluation.fairness` of the pipeline, and register what it makes",
        )
