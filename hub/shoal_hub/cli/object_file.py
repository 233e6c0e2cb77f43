"""Reads what operators write in files: an object of JSON, or of TOML."""

import json
import sys
from pathlib import Path
from typing import Any

import tomllib

from shoal_client import ClientError


def read_object(file: Path, guide: str) -> dict[str, Any]:
    """Return what a file says: TOML where it ends in `.toml`, else JSON; `-` is standard input, of JSON.

    Args:
        file: The file.
        guide: Which guide says what belongs into it.

    Raises:
        ClientError: It can not be read as that, or is no object.
    """
    is_toml = file.suffix == ".toml"
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        body = tomllib.loads(text) if is_toml else json.loads(text)
    except ValueError as error:
        form = "TOML" if is_toml else "JSON"
        raise ClientError(f"reading {file}: {error}", f"give a file of {form}, see the guide on {guide}") from error
    if not isinstance(body, dict):
        raise ClientError(
            f"reading {file}: {type(body).__name__} found, expected an object", f"see the guide on {guide}"
        )
    return body
