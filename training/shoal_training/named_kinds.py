"""Values of several kinds in a file: a mapping whose `kind` names the class that checks its other fields."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import TypeVar

from shoal_compression.values import Value

Kind = TypeVar("Kind", bound=Value)


def by_kind(
    word: str, kinds: Mapping[str, type[Kind]], *, default: str | None = None, field: str = "kind"
) -> Callable[[object], object]:
    """Return what makes a value of its kind from a mapping, for pydantic's `BeforeValidator`.

    Args:
        word: What such a value is called, for errors.
        kinds: The classes by name.
        default: The kind of a mapping that names none; None: it has to.
        field: That names the kind.
    """

    def make(given: object) -> object:
        if isinstance(given, Value):
            return given
        fields = {field: given} if isinstance(given, str) else given
        if not isinstance(fields, Mapping):
            raise ValueError(f"{str(given)[:80]!r} found, expected a mapping of fields of a {word}")  # noqa: TRY004 - pydantic tells ValueErrors
        named = fields.get(field, default)
        if named is None:
            raise ValueError(f"`{field}` is missing, expected one of {', '.join(kinds)}; add it")
        kind = kinds.get(str(named))
        if kind is None:
            alike = get_close_matches(str(named), kinds, n=1, cutoff=0.5)
            hint = f"did you mean {alike[0]}? known are" if alike else "known are"
            raise ValueError(f"no {word} is called {str(named)[:80]!r}; {hint} {', '.join(kinds)}")
        return kind.model_validate({name: value for name, value in fields.items() if name != field})

    return make
