"""A window may leave samples out of its counts, if it says how many; the rest is merged as ever."""

import numpy as np
import pytest
from sqlmodel import select
from tests.hub.monitoring.test_drift import baseline, like_training, shifted, signals, sketch, take
from tests.simulators.rows import add_device

from shoal_contract.manifest import Baseline
from shoal_hub.context import HubContext
from shoal_hub.errors import InvalidInputError
from shoal_hub.monitoring.sketches import check_window, merge, reference_of
from shoal_hub.monitoring.tables import WindowRow

__all__ = ["baseline"]


def test_samples_that_are_said_to_be_left_out_are(baseline: Baseline) -> None:
    reference = reference_of(baseline)
    window = sketch(baseline, like_training(1), samples=190, unsketched=40)
    assert merge([check_window(window, baseline, reference)], reference.edges, "here").row_count == 150


def test_a_window_of_which_nothing_was_sketched_is_taken(baseline: Baseline) -> None:
    reference = reference_of(baseline)
    window = sketch(baseline, np.empty((0, 4), dtype=np.float32), requests=7, samples=7, unsketched=7)
    assert merge([check_window(window, baseline, reference)], reference.edges, "here").row_count == 0


@pytest.mark.parametrize(("samples", "unsketched"), [(190, 39), (190, None), (150, 1), (149, None)])
def test_samples_that_do_not_add_up_are_refused(baseline: Baseline, samples: int, unsketched: int | None) -> None:
    window = sketch(baseline, like_training(1), samples=samples, unsketched=unsketched, predictions=(0, 0, 0))
    with pytest.raises(InvalidInputError, match="it counts 150 samples"):
        check_window(window, baseline, reference_of(baseline))


def test_a_row_names_all_samples_and_how_many_of_them_its_counts_leave_out(hub: HubContext, baseline: Baseline) -> None:
    with hub.database.transaction() as session:
        device = add_device(session).id
    take(hub, device, sketch(baseline, like_training(1), samples=190, unsketched=40))
    with hub.database.session() as session:
        [row] = session.exec(select(WindowRow))
    assert (row.samples, row.unsketched) == (190, 40), "what it tells of answers and slices is of all of them"


def test_what_is_left_out_helps_no_window_to_enough_samples(hub: HubContext, baseline: Baseline) -> None:
    with hub.database.transaction() as session:
        device = add_device(session).id
    few = shifted(1)[:60]
    take(hub, device, sketch(baseline, few, samples=1000, requests=1000, unsketched=940))
    with hub.database.session() as session:
        assert signals(session) == []
    take(hub, device, sketch(baseline, shifted(2)[:60]))
    with hub.database.session() as session:
        [signal] = signals(session)
    assert signal.samples == 120
