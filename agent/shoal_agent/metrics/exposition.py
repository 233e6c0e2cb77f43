r"""Prometheus' text exposition format, version 0.0.4. Pure.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/. A family is a name with its help and its kind;
below it stands a line for each sample. In help `\` and line ends are escaped, in the values of labels `"` as well.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Literal, NamedTuple

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_IN_HELP: Final = str.maketrans({"\\": r"\\", "\n": r"\n"})
_IN_LABEL: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class Sample(NamedTuple):
    """One line: a value under its labels; `suffix` is of a histogram's parts."""

    value: float
    labels: Mapping[str, str] = {}
    suffix: str = ""


@dataclass(frozen=True)
class Family:
    """Samples of one name.

    Attributes:
        name: As Prometheus knows it, with its unit: `shoal_board_temperature_celsius`.
        kind: A counter only rises while the agent runs, and its name ends in `_total`.
        help: One sentence.
        samples: None: the family is left out.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: tuple[Sample, ...]


def gauge(name: str, text: str, value: float | None) -> Family:
    """Return a gauge without labels; left out where there is no value."""
    return Family(name, "gauge", text, () if value is None else (Sample(value),))


def histogram_samples(
    labels: Mapping[str, str], edges: Sequence[float], counts: Sequence[int], total: float
) -> list[Sample]:
    """Return the lines of one histogram.

    Args:
        labels: Its labels.
        edges: The upper edges of all bins but the last, which has none; a value at an edge is below it.
        counts: Values by bin, one more than edges.
        total: The sum of all values.
    """
    bounds = [_number(edge) for edge in edges] + ["+Inf"]
    cumulative = list(accumulate(counts))
    buckets = [
        Sample(count, {**labels, "le": bound}, "_bucket") for bound, count in zip(bounds, cumulative, strict=True)
    ]
    return [*buckets, Sample(total, labels, "_sum"), Sample(cumulative[-1], labels, "_count")]


def exposition(families: Iterable[Family]) -> bytes:
    """Return the text of all families that have samples."""
    lines: list[str] = []
    for family in families:
        if family.samples:
            lines.append(
                f"# HELP {family.name} {family.help.translate(_IN_HELP)}\n# TYPE {family.name} {family.kind}\n"
            )
            lines += [_line(family.name, sample) for sample in family.samples]
    return "".join(lines).encode()


def _line(name: str, sample: Sample) -> str:
    labels = ",".join(f'{label}="{text.translate(_IN_LABEL)}"' for label, text in sample.labels.items())
    return f"{name}{sample.suffix}{'{' + labels + '}' if labels else ''} {_number(sample.value)}\n"


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(int(value))
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(float(value))
