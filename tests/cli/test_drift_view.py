"""Lines of blocks: what a terminal shows of values over time and of histograms."""

from shoal_hub.cli.drift_view import gathered, sparkline


def test_a_line_goes_from_nothing_to_the_largest_value() -> None:
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([0.0, 0.5], most=1.0) == "▁▅"
    assert sparkline([2.0], most=1.0) == "█"


def test_what_is_not_known_is_a_dot_and_nothing_at_all_is_flat() -> None:
    assert sparkline([None, 1.0]) == "·█"
    assert sparkline([0.0, 0.0]) == "▁▁"
    assert sparkline([]) == ""


def test_many_values_are_gathered_without_losing_a_peak() -> None:
    values: list[float | None] = [0.0] * 1000
    values[517] = 1.0
    found = gathered(values, 20)
    assert len(found) == 20
    assert max(one for one in found if one is not None) == 1.0
    assert gathered([None] * 50, 10) == [None] * 10
    assert gathered([1.0, None], 10) == [1.0, None]
