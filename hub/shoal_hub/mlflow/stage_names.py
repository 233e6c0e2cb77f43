"""MLflow's words for stages: the registry's own, with a capital."""

from shoal_hub.errors import InvalidInputError
from shoal_hub.mlflow.registry_answers import STAGES
from shoal_hub.registry.tables import Stage


def stage_named(word: str) -> Stage:
    """Return the stage that a client names, whatever the case.

    Raises:
        InvalidInputError: There is none.
    """
    found = next((stage for stage, name in STAGES.items() if name.lower() == word.lower()), None)
    if found is None:
        raise InvalidInputError(f"{word[:40]!r} is no stage", f"name one of {', '.join(STAGES.values())}")
    return found
