"""A feature definition, checked and laid out: the panes its windows are made of, and the memory that they take.

Windows that slide are unions of panes of one length, `every`: an event is counted in one pane, and a window combines
`size / every` of them (J. Li et al., "No pane, no gain", SIGMOD Record 34(1), 2005).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shoal_contract.features import CountWindow, Feature, FeatureDefinition, SessionWindow
from shoal_numerics.errors import FeatureError

MAX_STATE_BYTES: Final = 64 * 1024 * 1024
"""What the state of one definition may take, if it has all its entities."""
MAX_PANES: Final = 4096
"""Of one window."""
MAX_WINDOW_SAMPLES: Final = 65_536
"""Of one window from which band power is computed."""
MIN_WINDOW_SAMPLES: Final = 8
_NS_PER_MS: Final = 1_000_000
_OF_EVENTS: Final = frozenset({"events", "rate", "since_last"})
_ROW_INTEGERS: Final = 5
_CELLS_PER_FIELD: Final = 7
_ROUNDING: Final = 1e-6


@dataclass(frozen=True)
class WindowPlan:
    """How a definition is computed.

    Attributes:
        is_count: Positions are numbers of events; else times.
        is_session: A window ends where its entity has been silent for the length of a pane.
        pane: Length of a pane, in events or ns.
        panes: Panes of a window; of sessions 1, as each is held as one row.
        lateness: How long a pane waits for late events, in ns; 0 where positions are numbers of events.
        fields: Fields of an event, sorted; the order of the columns of a batch.
        features: By name, sorted; the order of the columns of what is computed.
        samples: Samples of a pane that are kept for band power; 0: none.
        sampling_hz: At which rate they were taken.
        max_entities: Entities at a time.
    """

    is_count: bool
    is_session: bool
    pane: int
    panes: int
    lateness: int
    fields: tuple[str, ...]
    features: tuple[tuple[str, Feature], ...]
    samples: int
    sampling_hz: float
    max_entities: int

    @classmethod
    def of(cls, definition: FeatureDefinition, max_bytes: int = MAX_STATE_BYTES) -> "WindowPlan":
        """Lay a definition out.

        Args:
            definition: What is to be computed.
            max_bytes: What its state may take.

        Raises:
            FeatureError: It cannot be computed, or its state would be too large.
        """
        window = definition.window
        is_count, is_session = isinstance(window, CountWindow), isinstance(window, SessionWindow)
        if isinstance(window, CountWindow):
            size, pane, lateness = window.size, window.every, 0
        elif isinstance(window, SessionWindow):
            size, pane, lateness = (_NS_PER_MS * ms for ms in (window.gap_ms, window.gap_ms, window.lateness_ms))
        else:
            size, pane, lateness = (_NS_PER_MS * ms for ms in (window.size_ms, window.every_ms, window.lateness_ms))
        if size % pane or size // pane > MAX_PANES:
            message = (
                f"Laying out a window: a size of {size // pane} steps and a rest of {size % pane} found, expected a "
                f"multiple of its step, at most {MAX_PANES} times. Choose a step that divides the size."
            )
            raise FeatureError(message)
        _check_features(definition.features, window.kind)
        plan = cls(
            is_count=is_count,
            is_session=is_session,
            pane=pane,
            panes=size // pane,
            lateness=lateness,
            fields=tuple(sorted({one.field for one in definition.features.values() if one.field is not None})),
            features=tuple(sorted(definition.features.items())),
            samples=_samples(definition, pane, size // pane, is_count=is_count),
            sampling_hz=definition.sampling_hz or 0.0,
            max_entities=definition.max_entities,
        )
        plan._check_memory(max_bytes)
        return plan

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features, in order."""
        return tuple(name for name, _ in self.features)

    @property
    def ring(self) -> int:
        """Panes of an entity that are held: those of a window, and those that wait for late events."""
        return self.panes + self.lateness // self.pane + 2

    @property
    def state_bytes(self) -> int:
        """The most that the state takes."""
        row = _ROW_INTEGERS + len(self.fields) * (_CELLS_PER_FIELD + self.samples)
        return 8 * row * self.ring * self.max_entities

    def _check_memory(self, max_bytes: int) -> None:
        if self.state_bytes > max_bytes:
            message = (
                f"Laying out a definition: its state may take {self.state_bytes} bytes, at most {max_bytes} allowed. "
                "Lower max_entities, the lateness, or the number of steps in a window."
            )
            raise FeatureError(message)


def _check_features(features: Mapping[str, Feature], kind: str) -> None:
    for name, feature in features.items():
        doing = f"Laying out feature {name!r}"
        if (feature.field is None) != (feature.aggregate in _OF_EVENTS):
            wanted = "no field" if feature.aggregate in _OF_EVENTS else "the field that it aggregates"
            message = f"{doing}: {feature.aggregate} of field {feature.field!r} found, expected {wanted}."
            raise FeatureError(message)
        if kind != "time" and feature.aggregate == "since_last":
            always = "0, as it ends with its last event" if kind == "count" else "its gap"
            message = (
                f"{doing}: of a {kind} window since_last would always be {always}. "
                "Use a window by time; how old a value is stands beside each value that is read."
            )
            raise FeatureError(message)
        if kind == "session" and feature.aggregate == "band_power":
            message = f"{doing}: band_power of a session found, which has no length. Use a window by time or count."
            raise FeatureError(message)


def _samples(definition: FeatureDefinition, pane: int, panes: int, *, is_count: bool) -> int:
    """Return how many samples of a pane are kept; 0 where no feature needs them."""
    bands = {name: one for name, one in definition.features.items() if one.aggregate == "band_power"}
    if not bands:
        return 0
    hertz = definition.sampling_hz
    for name, one in bands.items():
        low, high = one.low_hz, one.high_hz
        if hertz is None or low is None or high is None or not low < high <= hertz / 2:
            message = (
                f"Laying out feature {name!r}: band {low} to {high} Hz at a sampling rate of {hertz} Hz found, "
                "expected both ends of a band below half of the sampling rate. Give low_hz, high_hz and sampling_hz."
            )
            raise FeatureError(message)
    exact = float(pane) if is_count else pane * (hertz or 0.0) / 1e9
    samples = round(exact)
    if abs(exact - samples) > _ROUNDING or not MIN_WINDOW_SAMPLES <= samples * panes <= MAX_WINDOW_SAMPLES:
        message = (
            f"Laying out band power: {exact:g} samples in a step and {exact * panes:g} in a window found, expected "
            f"a whole number in a step, and {MIN_WINDOW_SAMPLES} to {MAX_WINDOW_SAMPLES} in a window."
        )
        raise FeatureError(message)
    return samples
