"""A long list of JSON, member by member, in the memory of one."""

import codecs
import json
from collections.abc import Iterator
from io import BufferedReader
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from shoal_training.ingestion.formats.whole_lines import WholeLines

_BLOCK_CHARACTERS: Final = 1 << 20
_MAX_OBJECT_CHARACTERS: Final = 64 << 20


class Members:
    """The members of a list in a stream of JSON, one by one.

    Raises:
        ValueError: It is no list, or does not end.
    """

    def __init__(self, file: "BufferedReader[WholeLines]") -> None:
        self._file = file
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")()
        self._json = json.JSONDecoder()
        self._text, self._at = "", 0

    def __iter__(self) -> Iterator[Any]:
        self._take("[")
        if self._mark() == "]":
            return
        while True:
            yield self._value()
            if self._take(",]") == "]":
                return

    def _take(self, expected: str) -> str:
        mark = self._mark()
        if mark not in tuple(expected):
            raise ValueError(f"{self._text[self._at : self._at + 40]!r} found, {' or '.join(expected)} expected")
        self._at += 1
        return mark

    def _mark(self) -> str:
        """Return the next character that is no white space, without taking it; empty at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in " \t\r\n":
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def _value(self) -> Any:  # noqa: ANN401 - what JSON has
        self._mark()
        while True:
            try:
                found, end = self._json.raw_decode(self._text, self._at)
                if end < len(self._text) or not self._more():  # a number at the very end may go on
                    self._at = end
                    return found
            except ValueError:
                if len(self._text) - self._at > _MAX_OBJECT_CHARACTERS or not self._more():
                    raise

    def _more(self) -> bool:
        block = self._file.read(_BLOCK_CHARACTERS)
        self._text, self._at = self._text[self._at :] + self._utf8.decode(block, final=not block), 0
        return bool(block)
