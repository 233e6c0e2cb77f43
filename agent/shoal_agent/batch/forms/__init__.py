"""Forms of output: Parquet, JSON lines, CSV."""

from pathlib import Path

from shoal_agent.batch.errors import BatchError
from shoal_agent.batch.forms.form import Form
from shoal_agent.batch.forms.parquet_form import ParquetForm
from shoal_agent.batch.forms.text_forms import CsvForm, JsonForm

__all__ = ["Form", "JsonForm", "form_of"]


def form_of(output: Path) -> Form:
    """Return the form of an output by its suffix.

    Raises:
        BatchError: It is none that is known.
        ProcessingError: Its library is not installed.
    """
    if output.suffix == ".parquet":
        return ParquetForm()
    if output.suffix == ".csv":
        return CsvForm()
    if output.suffix in {".jsonl", ".ndjson"}:
        return JsonForm()
    message = f"writing {output}: suffix {output.suffix!r} found"
    raise BatchError(message, "name an output that ends in .parquet, .csv, .jsonl or .ndjson")
