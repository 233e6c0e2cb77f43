"""The text is what Prometheus' own parser reads back, whatever stands in labels and help."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from shoal_agent.metrics import Family, Sample, exposition
from shoal_agent.metrics.exposition import gauge, histogram_samples

TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n"), max_size=20)


@given(TEXTS, TEXTS, st.floats(allow_nan=False))
def test_labels_help_and_values_read_back_as_they_were(label: str, text: str, value: float) -> None:
    about = f"Help {text}".strip()
    family = Family("shoal_x", "gauge", about, (Sample(value, {"name": label}),))
    [read] = text_string_to_metric_families(exposition([family]).decode())
    [sample] = read.samples
    assert (read.type, sample.name, sample.labels, sample.value) == ("gauge", "shoal_x", {"name": label}, value)
    assert read.documentation == about


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (True, "1"),
        (0.25, "0.25"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
        (1e30, "1e+30"),
    ],
)
def test_values_have_the_forms_of_the_format(value: float, text: str) -> None:
    assert exposition([gauge("shoal_x", "X.", value)]).decode().splitlines()[-1] == f"shoal_x {text}"


def test_a_histogram_s_buckets_add_up_and_end_with_all() -> None:
    samples = histogram_samples({"model": "digits"}, (0.5, 1.0), (3, 0, 2), 4.5)
    text = exposition([Family("shoal_s", "histogram", "S.", tuple(samples))]).decode()
    assert text.splitlines()[2:] == [
        'shoal_s_bucket{model="digits",le="0.5"} 3',
        'shoal_s_bucket{model="digits",le="1.0"} 3',
        'shoal_s_bucket{model="digits",le="+Inf"} 5',
        'shoal_s_sum{model="digits"} 4.5',
        'shoal_s_count{model="digits"} 5',
    ]


def test_a_family_without_samples_is_left_out() -> None:
    assert exposition([gauge("shoal_x", "X.", None), Family("shoal_y", "counter", "Y.", ())]) == b""
