"""What an answer of a composition says besides its outputs: which versions it is made of, and who answered."""

from collections.abc import Mapping
from typing import Final

from shoal_agent.engines import Array
from shoal_agent.serving.models import ServedModel

ANSWERED_BY: Final = ""
"""Among a composition's outputs: by sample, the place of the member that answered. No model's output has this name."""
MEMBER_LABELS: Final = "\0"
"""Among them: (samples, members) int64 of the label that each member chose, -1 where its answer was not used or it
knows none. No model's output has this name either: names in model files end at a NUL."""


def parameters_of(served: ServedModel, outputs: Mapping[str, Array]) -> dict[str, str]:
    """Return the parameters of an answer; a model that is no composition has none.

    `members`: all that it is made of, as `name/version`. `answered_by`, of a cascade: who answered, in its order; where
    several did, `answered_by_sample` has a digit for each sample, the place in that.
    """
    if not served.members:
        return {}
    said = {"members": ",".join(f"{member.name}/{member.version}" for member in served.members)}
    places = outputs.get(ANSWERED_BY)
    if places is not None:
        found = sorted(set(places.tolist()))
        said["answered_by"] = ",".join(served.members[place].name for place in found)
        if len(found) > 1:
            said["answered_by_sample"] = "".join(str(found.index(place)) for place in places.tolist())
    return said


def answerers(served: ServedModel, outputs: Mapping[str, Array]) -> list[str] | None:
    """Return by sample which member of a cascade answered; None for anything else."""
    places = outputs.get(ANSWERED_BY)
    return None if places is None else [served.members[place].name for place in places.tolist()]


def are_of_members(served: ServedModel, outputs: Mapping[str, Array]) -> bool:
    """Whether what outputs say of members can be true of these; so can what says nothing of any."""
    places, labels, count = outputs.get(ANSWERED_BY), outputs.get(MEMBER_LABELS), len(served.members)
    are_places = places is None or bool(((places >= 0) & (places < count)).all())
    return are_places and (labels is None or labels.shape[1:] == (count,))
