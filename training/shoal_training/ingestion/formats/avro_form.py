"""Avro: block by block; what stands before a damaged block is kept."""

import struct
import zlib
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, Final

from shoal_training.errors import DataError
from shoal_training.ingestion.formats.avro_types import avro_schema
from shoal_training.ingestion.formats.form import FileReading, Form, is_damage
from shoal_training.ingestion.records import RecordTables, Row
from shoal_training.ingestion.schemas import conform

if TYPE_CHECKING:
    import pyarrow as pa

_DAMAGE: Final = (
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    OverflowError,
    OSError,
    MemoryError,
    struct.error,
    zlib.error,
)
"""What fastavro raises in the middle of bytes that are none of its own."""


class AvroForm(Form):
    """See the module."""

    def schema_of(self, file: IO[bytes], about: FileReading) -> "pa.Schema":  # noqa: ARG002 - it says so itself
        """See `Form`."""
        from fastavro import block_reader

        return avro_schema(block_reader(file).writer_schema)

    def tables(self, file: IO[bytes], about: FileReading) -> Iterator["pa.Table"]:
        """See `Form`."""
        from fastavro import block_reader

        try:
            blocks = block_reader(file)
            own = avro_schema(blocks.writer_schema)
        except _DAMAGE as error:
            if not is_damage(error):
                raise
            about.refuse(None, f"{_told(error)}; it is no Avro file, write it again")
            return
        except DataError as error:
            about.refuse(None, str(error))
            return
        target = about.target(own)
        if target is None:
            return
        for table in RecordTables(about.path, about.reading, own, consumed=file.tell).tables(_rows(blocks, about)):
            yield conform(table, target)


def _rows(blocks: Any, about: FileReading) -> Iterator[Row]:  # noqa: ANN401 - fastavro's
    number = 0
    while True:
        try:
            block = next(blocks, None)
            records = None if block is None else list(block)  # whole or not at all: a block has one checksum
        except _DAMAGE as error:
            if not is_damage(error):
                raise
            about.refuse(number + 1, f"{_told(error)}; it and all rows after it are damaged, write the file again")
            return
        if records is None:
            return
        for record in records:
            number += 1
            if not isinstance(record, dict):
                raise DataError(f"reading {about.path}, row {number}: {type(record).__name__} found, a record expected")
            yield number, record


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__
