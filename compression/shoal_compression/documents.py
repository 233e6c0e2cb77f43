"""Reads what people write by hand: strict YAML, of which JSON is a part, whose errors name line and field."""

import json
from typing import Any, Final, NamedTuple

from shoal_compression.errors import CompressionError
from shoal_compression.extras import says_extra

SUFFIXES: Final = (".yaml", ".yml", ".json")

Place = tuple[int | str, ...]


class DocumentError(CompressionError):
    """A text is no document; `reason` says what is wrong and what to do, `line` where, None: nowhere in particular."""

    def __init__(self, reason: str, line: int | None = None, place: Place = ()) -> None:
        super().__init__(reason if line is None else f"line {line}: {reason}")
        self.reason, self.line, self.place = reason, line, place


class Document(NamedTuple):
    """What a text holds, and where."""

    fields: dict[str, Any]
    lines: dict[Place, int]

    def line(self, place: Place) -> int:
        """Return the line of a field, or of what it would belong to."""
        within = (place[:length] for length in range(len(place), 0, -1))
        return next((self.lines[one] for one in within if one in self.lines), 1)


def read_document(text: str, doing: str, expected: str) -> Document:
    """Read a mapping of fields.

    Args:
        text: YAML or JSON.
        doing: What is being done, for the error where PyYAML is not installed.
        expected: What the text is to be, for errors, like "a recipe".

    Raises:
        DocumentError: The text is neither, holds no mapping, or says something twice.
        MissingLibraryError: PyYAML is not installed.
    """
    with says_extra(doing):
        import yaml

    from_json = _from_json(text)
    if from_json is not None:  # YAML is asked for the lines alone: it takes neither tabs nor all characters
        text = "".join(one if one == "\n" or one.isprintable() else " " for one in text)
    lines: dict[Place, int] = {}
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        _note_lines(root, (), lines)
        fields = None if root is None else from_json or yaml.constructor.SafeConstructor().construct_document(root)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or str(error)
        raise DocumentError(f"{reason}; write {expected} as YAML or JSON", mark and mark.line + 1) from error
    except RecursionError as error:
        raise DocumentError(f"it is nested too deeply; {expected} is a mapping of fields") from error
    except ValueError as error:  # a date that is none, a number that is too long
        raise DocumentError(f"{error}; write it between quotes") from error
    if not isinstance(fields, dict):
        raise DocumentError(f"expected a mapping of fields, as {expected} is", 1)
    return Document(fields, lines)


def _from_json(text: str) -> object:
    """Return what a JSON text holds; None: it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _note_lines(node: Any, place: Place, lines: dict[Place, int]) -> None:  # noqa: ANN401 - PyYAML's
    """Note the line of each field.

    Raises:
        DocumentError: A field stands there twice, or as an alias: few lines could then mean a million values.
    """
    import yaml

    if hasattr(node, "seen"):
        raise DocumentError("there is an alias of what stands here; write it out", node.start_mark.line + 1, place)
    if node is not None:
        node.seen = True
    if isinstance(node, yaml.SequenceNode):
        for index, one in enumerate(node.value):
            within = (*place, index)
            lines[within] = one.start_mark.line + 1
            _note_lines(one, within, lines)
    if isinstance(node, yaml.MappingNode):
        for key, one in node.value:
            here, line = (*place, str(key.value)), key.start_mark.line + 1
            if here in lines:
                raise DocumentError(f"{key.value} stands there twice; keep one", line, here)
            lines[here] = line
            _note_lines(one, here, lines)
