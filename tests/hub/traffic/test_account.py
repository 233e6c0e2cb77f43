"""A device's month moves forward only: reports that are repeated, late, lost or of an earlier ledger change no sum."""

from hypothesis import given
from hypothesis import strategies as st

from shoal_contract.ledger import CATEGORIES, Traffic
from shoal_hub.traffic.account import Account, Categories

_TRAFFIC = st.builds(Traffic, received_bytes=st.integers(0, 2**62), sent_bytes=st.integers(0, 2**62))
_TOLD = st.dictionaries(st.sampled_from([*CATEGORIES, "of_tomorrow"]), _TRAFFIC)
_REPORTS = st.lists(st.tuples(st.integers(1, 4), _TOLD), max_size=12)


def _told(reports: list[tuple[int, Categories]], account: Account | None = None) -> Account:
    account = account or Account()
    for stream, told in reports:
        account = account.after(stream, told)
    return account


@given(growth=st.lists(_TOLD, min_size=1, max_size=8), data=st.data())
def test_the_last_report_counts_however_many_of_those_before_came_and_in_which_order(
    growth: list[dict[str, Traffic]], data: st.DataObject
) -> None:
    reports: list[Categories] = []
    for step in growth:
        before = reports[-1] if reports else {}
        names = {*before, *step}
        reports.append({one: before.get(one, Traffic()).plus(step.get(one, Traffic())) for one in names})
    some = data.draw(st.lists(st.sampled_from(reports)))
    came = data.draw(st.permutations([*some, *some, reports[-1]]))
    expected = {name: one for name, one in reports[-1].items() if name in CATEGORIES}
    assert _told([(7, one) for one in came]).total == expected


@given(reports=_REPORTS)
def test_a_report_that_comes_again_changes_nothing(reports: list[tuple[int, Categories]]) -> None:
    account = _told(reports)
    assert _told(reports, account) == account


@given(reports=_REPORTS, more=st.tuples(st.integers(1, 4), _TOLD))
def test_no_report_lets_a_total_fall(reports: list[tuple[int, Categories]], more: tuple[int, Categories]) -> None:
    before, after = _told(reports), _told([*reports, more])
    for name, one in before.total.items():
        assert after.total[name].at_least(one) == after.total[name]


def test_what_an_earlier_ledger_said_stays_when_the_device_begins_another() -> None:
    said, later = {"control": Traffic(sent_bytes=70)}, {"control": Traffic(sent_bytes=5)}
    account = _told([(1, said), (2, later), (1, {"control": Traffic(sent_bytes=900)})])
    assert account.total == {"control": Traffic(sent_bytes=75)}
