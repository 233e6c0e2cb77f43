"""A `traceparent` is what W3C says it is, or nothing: whoever sends it is not trusted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_contract.trace_context import MAX_TRACE_CONTEXTS, TraceContext, contexts_in

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


def ids(digits: int) -> st.SearchStrategy[str]:
    return st.integers(1, 16**digits - 1).map(lambda number: f"{number:0{digits}x}")


@given(ids(32), ids(16), st.booleans())
def test_what_is_written_is_read_again(trace_id: str, span_id: str, is_sampled: bool) -> None:
    context = TraceContext(trace_id, span_id, is_sampled)
    assert TraceContext.parse(str(context)) == context
    assert len(str(context)) == 55


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD + "0",
        GOOD + "\n",
        GOOD.upper(),
        GOOD.replace("-", "_"),
        f"01-{TRACE}-{SPAN}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-0g",
        "00-" + "٣" * 32 + f"-{SPAN}-01",
        None,
        55,
        GOOD.encode(),
    ],
)
def test_anything_else_is_none(text: object) -> None:
    assert TraceContext.parse(text) is None


@given(st.text(max_size=80))
def test_no_text_is_an_error(text: str) -> None:
    found = TraceContext.parse(text)
    assert found is None or str(found)[:53] == text[:53]


def test_other_flags_than_sampled_are_passed_over() -> None:
    assert TraceContext.parse(f"00-{TRACE}-{SPAN}-03") == TraceContext(TRACE, SPAN, is_sampled=True)
    assert TraceContext.parse(f"00-{TRACE}-{SPAN}-02") == TraceContext(TRACE, SPAN, is_sampled=False)


def test_of_user_properties_each_context_counts_once_and_no_more_than_the_bound() -> None:
    many = [("traceparent", f"00-{TRACE}-{number:016x}-01") for number in range(1, 40)]
    told = [("tracestate", GOOD), ("Traceparent", GOOD), ("traceparent", "rubbish"), many[0], *many]
    found = contexts_in(told)
    assert [int(one.span_id, 16) for one in found] == list(range(1, MAX_TRACE_CONTEXTS + 1))
    assert contexts_in([]) == ()
