"""The picture of a choice: every name can be read."""

import re

import pytest

from shoal_compression.measures import Measures
from shoal_compression.search.candidates import Candidate
from shoal_hub.compression.figures import Choice
from shoal_hub.compression.picture import draw_choices

LETTER = 6.0
"""About the width of one in the picture's type, in pixels."""


def drawn(**latency_ms: float) -> str:
    found = [
        Candidate(
            name=name,
            recipe_sha256=name,
            target="pi4",
            measures=Measures(size_bytes=1, latency_p50_ms=ms),
            drop_points=0.0,
        )
        for name, ms in latency_ms.items()
    ]
    return draw_choices([Choice(target_class="pi4", basis="here", candidates=tuple(found))])


@pytest.mark.parametrize("ms", [(1.0, 1.02, 1.04, 0.4), (1.0, 1.0, 1.0, 1.0)])
def test_names_stand_within_the_picture_and_not_on_each_other(ms: tuple[float, ...]) -> None:
    names = ["careful-int8-onnx", "float16", "int8-litert", "source"]
    svg = drawn(**dict(zip(names, ms, strict=True)))
    places = {
        name: (float(x), float(y), float(x) + LETTER * len(name))
        for x, y, name in re.findall(r'<text x="([\d.]+)" y="([\d.]+)">([\w-]+)</text>', svg)
        if name in names
    }
    assert sorted(places) == names
    width = float(re.findall(r'width="(\d+)"', svg)[0])
    for name, (left, top, right) in places.items():
        assert right <= width
        for other, (from_, at, to) in places.items():
            assert other == name or abs(at - top) >= 11 or to <= left or right <= from_, (name, other)
