"""An alert from its first sight to its end, and what is told of it, whatever happens in between."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, precondition, rule

from shoal_hub.alerts.machine import Patience, Standing, advance
from shoal_hub.alerts.telling import Matcher, Silence, Timing, Told, is_group_due, next_word, silenced_by

TIMING = Timing(group_wait_s=30, group_interval_s=300, repeat_interval_s=1000)
LABELS = {"model": "digits", "rule": "drift"}
START = datetime(2026, 1, 1, tzinfo=UTC)
SECONDS = st.integers(0, 2000)


class AlertsOfOneThing(RuleBasedStateMachine):
    """Compares the machine with what it has to come to, by the whole history of what was seen."""

    silences = Bundle("silences")

    def __init__(self) -> None:
        super().__init__()
        self.patience = Patience(300, 200)
        self.standing: Standing | None = None
        self.now = START
        self.held_s: float | None = None  # for how long the condition was seen to hold without a break
        self.clear_s: float | None = None
        self.is_firing = False
        self.is_acknowledged = False
        self.set_silences: list[Silence] = []
        self.told: Told | None = None
        self.words: list[str] = []

    @rule(
        elapsed_s=SECONDS, is_breached=st.sampled_from([True, True, False, None]), jump_s=st.integers(-(10**6), 10**6)
    )
    def look(self, elapsed_s: int, is_breached: bool | None, jump_s: int) -> None:
        """Time passes; the system's clock may jump, which has no part in what fires."""
        self.now += timedelta(seconds=elapsed_s + (jump_s if jump_s % 7 == 0 else 0))
        before = self.standing
        self.standing = advance(before, self.patience, elapsed_s, is_breached=is_breached)
        self._expect(elapsed_s, is_breached)
        self._tell()
        if self.standing is not None and not self.standing.is_open:
            self.standing, self.told, self.is_acknowledged = None, None, False

    def _expect(self, elapsed_s: float, is_breached: bool | None) -> None:
        if is_breached is None:
            return
        if is_breached:
            self.held_s = 0.0 if self.held_s is None else self.held_s + elapsed_s
            self.clear_s = None
            self.is_firing = self.is_firing or self.held_s >= self.patience.for_s
            return
        if not self.is_firing:
            self.held_s = None
            return
        self.clear_s = 0.0 if self.clear_s is None else self.clear_s + elapsed_s
        if self.clear_s >= self.patience.resolve_s:
            assert self.standing is not None
            assert self.standing.state == "resolved"
            self.is_firing, self.held_s, self.clear_s = False, None, None

    def _tell(self) -> None:
        if self.standing is None:
            return
        is_quiet = bool(silenced_by(self.set_silences, LABELS, self.now))
        word = next_word(
            self.standing.state, self.told, TIMING, self.now, is_quiet=is_quiet, is_acknowledged=self.is_acknowledged
        )
        if word is None:
            return
        transition, number = word
        if transition == "resolved":
            assert self.words
            assert self.words[-1] != "resolved", "an end is told once, and of what was told alone"
        else:
            assert not is_quiet
            assert self.standing.state == "firing"
            assert (transition == "firing") == (self.told is None), "that it fires is told once"
            assert not (self.is_acknowledged and transition == "repeated")
            self.told = Told(transition, number, self.now)
        self.words.append(transition)

    @precondition(lambda self: self.standing is not None)
    @rule()
    def acknowledge(self) -> None:
        self.is_acknowledged = True

    @rule(target=silences, seconds=SECONDS, value=st.sampled_from(["digits", "other"]))
    def silence(self, seconds: int, value: str) -> Silence:
        made = Silence("as-1", [Matcher(label="model", value=value)], self.now, self.now + timedelta(seconds=seconds))
        self.set_silences.append(made)
        return made

    @rule(target=silences, one=silences)
    def end_silence(self, one: Silence) -> object:
        if one in self.set_silences:
            self.set_silences.remove(one)
        return multiple()

    @invariant()
    def it_fires_when_it_was_seen_for_long_enough_and_not_before(self) -> None:
        is_open = self.standing is not None and self.standing.is_open
        assert (is_open and self.standing is not None and self.standing.state == "firing") == self.is_firing
        assert is_open == (self.is_firing or self.held_s is not None)


TestAlertsOfOneThing = AlertsOfOneThing.TestCase
TestAlertsOfOneThing.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_what_flaps_faster_than_its_patience_stays_one_alert(seen: list[bool]) -> None:
    patience = Patience(0, 100)
    standing = advance(None, patience, 0, is_breached=True)
    for is_breached in seen:  # every second look, at least, shows it: it is never over
        for one in (is_breached, True):
            standing = advance(standing, patience, 60, is_breached=one)
            assert standing is not None
            assert standing.state == "firing"


def test_a_look_that_shows_nothing_neither_fires_nor_ends() -> None:
    patience = Patience(100, 100)
    pending, firing = Standing("pending", 50), Standing("firing", 100, 50)
    assert advance(pending, patience, 1000, is_breached=None) == pending
    assert advance(firing, patience, 1000, is_breached=None) == firing
    assert advance(None, patience, 1000, is_breached=None) is None


def test_a_group_waits_for_its_first_and_keeps_its_distance() -> None:
    first = START
    assert not is_group_due(first, None, TIMING, first + timedelta(seconds=29))
    assert is_group_due(first, None, TIMING, first + timedelta(seconds=30))
    sent = START - timedelta(seconds=100)
    assert not is_group_due(first, sent, TIMING, first + timedelta(seconds=199))
    assert is_group_due(first, sent, TIMING, first + timedelta(seconds=200))
    assert is_group_due(first, sent, TIMING, first - timedelta(days=400)), "a clock that was set back holds nothing up"


def test_a_matcher_takes_a_missing_label_for_an_empty_one() -> None:
    assert Matcher(label="model", value="digits").fits(LABELS)
    assert not Matcher(label="group", value="north").fits(LABELS)
    assert Matcher(label="group", value="north", op="!=").fits(LABELS)
    assert Matcher(label="group", value="").fits(LABELS)
