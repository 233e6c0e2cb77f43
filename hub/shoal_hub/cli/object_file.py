"""Reads what operators write in files: an object of JSON, of TOML or of YAML."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import tomllib
import yaml

from shoal_client import ClientError

_FORMS: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    ".toml": ("TOML", tomllib.loads),
    ".yaml": ("YAML", yaml.safe_load),
    ".yml": ("YAML", yaml.safe_load),
}


def read_object(file: Path, guide: str) -> dict[str, Any]:
    """Return what a file says: TOML or YAML where it ends so, else JSON; `-` is standard input, of JSON.

    Args:
        file: The file.
        guide: Which guide says what belongs into it.

    Raises:
        ClientError: It can not be read as that, or is no object.
    """
    form, read = _FORMS.get(file.suffix, ("JSON", json.loads))
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        body = read(text)
    except (ValueError, yaml.YAMLError) as error:
        raise ClientError(f"reading {file}: {error}", f"give a file of {form}, see the guide on {guide}") from error
    if not isinstance(body, dict):
        raise ClientError(
            f"reading {file}: {type(body).__name__} found, expected an object", f"see the guide on {guide}"
        )
    return body
