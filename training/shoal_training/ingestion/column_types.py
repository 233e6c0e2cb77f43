"""Types that a file declares for columns, by Arrow's names for them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import AfterValidator, Field

if TYPE_CHECKING:
    import pyarrow as pa

_EXAMPLES: Final = "int64, float32, float64, bool, string, date32, timestamp[us]"


def arrow_types(declared: Mapping[str, str]) -> dict[str, "pa.DataType"]:
    """Return declared types as Arrow's.

    Raises:
        ValueError: One of them is none.
    """
    import pyarrow as pa

    found = {}
    for name, text in declared.items():
        try:
            found[name] = pa.type_for_alias(text)
        except ValueError as error:
            raise ValueError(f"{name}: {text!r} is no type of a column, expected one like {_EXAMPLES}") from error
    return found


def _check(declared: dict[str, str]) -> dict[str, str]:
    if declared:  # Arrow is loaded by those alone who declare something
        arrow_types(declared)
    return declared


ColumnTypes = Annotated[dict[str, str], Field(max_length=10_000), AfterValidator(_check)]
"""Types by the names of columns; those of other columns are those of the first rows."""
