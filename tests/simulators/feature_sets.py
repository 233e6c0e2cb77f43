"""Feature sets as operators write them."""

from typing import Any

VIBRATION = {
    "window": {"kind": "time", "size_ms": 1000, "every_ms": 100},
    "features": {"level": {"aggregate": "std", "field": "x"}},
}


def features(pipeline: str = "pumps", definition: str = "vibration", **changes: Any) -> dict[str, Any]:
    """Return a set of one pipeline."""
    declared = {"source": {"kind": "http"}, "definitions": [definition]} | changes
    return {"definitions": {definition: VIBRATION}, "pipelines": {pipeline: declared}}
