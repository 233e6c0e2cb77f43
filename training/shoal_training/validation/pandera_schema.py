"""The check that runs a schema of pandera, for people who have one; the other checks say the same in less time."""

from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from pydantic import Field, field_validator

from shoal_training.errors import DataError
from shoal_training.validation.check import Check, Mask, Outcome

if TYPE_CHECKING:
    import pyarrow as pa

MAX_YAML: Final = 262_144


class PanderaSchema(Check):
    """A pandera schema holds, as `DataFrameSchema.to_yaml` writes it; needs pandera and pandas (the extra `train`)."""

    kind: ClassVar[str] = "pandera"

    definition: str = Field(min_length=1, max_length=MAX_YAML)
    """The YAML, as a block of text."""

    @field_validator("definition")
    @classmethod
    def _check_form(cls, value: str) -> str:
        import yaml

        try:
            found = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"the schema is no YAML: {str(error)[:200]}") from error
        if not isinstance(found, dict) or found.get("schema_type") != "dataframe":
            raise ValueError("a text with `schema_type: dataframe` was expected, as pandera's `to_yaml` writes it")
        return value

    def examine(self, table: "pa.Table", before: "pa.Table | None") -> Outcome:  # noqa: ARG002 - see `Check`
        """See `Check`."""
        try:
            import pandera.errors
            import pandera.pandas
        except ImportError as error:
            raise DataError(f"checking {self.kind}: {error}; install shoal with its extra `train`") from error
        try:
            schema = pandera.pandas.DataFrameSchema.from_yaml(self.definition)
        except Exception as error:  # what it raises of a file it can not read shares no base class
            raise DataError(f"checking {self.kind}: the schema can not be read: {str(error)[:300]}") from error
        try:
            schema.validate(table.to_pandas(), lazy=True)
        except pandera.errors.SchemaErrors as error:
            return self._told(error.failure_cases, len(table))
        return Outcome(
            passed=True, message=f"it holds for all {len(table):,} rows", is_bad=np.zeros(len(table), dtype=np.bool_)
        )

    def _told(self, cases: Any, rows: int) -> Outcome:  # noqa: ANN401 - a frame of pandas
        """Return what pandera found: cases with a row's number speak of that row, the others of the table."""
        by_row = cases[cases["index"].notna()]
        reasons: dict[str, Mask] = {}
        for (column, check), group in by_row.groupby(["column", "check"], dropna=False):
            mask = np.zeros(rows, dtype=np.bool_)
            mask[group["index"].astype(int).to_numpy()] = True
            reasons[f"{column}: {str(check)[:80]}"] = mask
        of_table = cases[cases["index"].isna()].fillna({"column": ""})
        whole = [f"{one.column} {one.check} {one.failure_case}".strip() for one in of_table.itertuples()]
        if not whole:
            return self.judged(rows, reasons)
        found = self.judged(rows, reasons) if reasons else None
        message = "; ".join([*whole[:5], *([found.message] if found else [])])
        return Outcome(passed=False, message=message, is_bad=None, facts={"schema": whole[:20]})
