"""How the controller keeps account with the broker of what it was told."""

from datetime import timedelta

import pytest
from tests.simulators.retained_topics import RetainedTopics
from tests.simulators.rows import NOON, add_device

from shoal_agent.settings import LinkSettings
from shoal_contract import topics
from shoal_hub.controller.publish_desired import _FIRST_REPEAT, DesiredPublisher
from shoal_hub.database import Database
from shoal_hub.devices.desired import out_of_step
from shoal_hub.devices.tables import DesiredRow, Device
from shoal_hub.mqtt import MqttError


def _add_state(database: Database, seconds: int, **device: object) -> str:
    with database.transaction() as session:
        device_id = add_device(session, **device).id
        at = NOON + timedelta(seconds=seconds)
        row = DesiredRow(
            device_id=device_id,
            epoch=1,
            generation=100,
            content_sha256="0" * 64,
            envelope=device_id.encode(),
            issued_at=at,
            expires_at=at,
        )
        session.add(row)
    return device_id


def _tell(publisher: DesiredPublisher, broker: RetainedTopics) -> None:
    while publisher.step(broker):
        pass


@pytest.fixture
def broker() -> RetainedTopics:
    return RetainedTopics()


def test_a_fresh_broker_is_told_everything_and_then_the_watermark(database: Database, broker: RetainedTopics) -> None:
    devices = [_add_state(database, number) for number in range(3)]
    publisher = DesiredPublisher(database, epoch=1)
    assert publisher.compare(None) is False
    _tell(publisher, broker)
    assert set(broker.order[:-1]) == {topics.down_desired(one) for one in devices}
    assert broker.order[-1] == topics.HUB_WATERMARK
    assert broker.retained[topics.down_desired(devices[0])] == devices[0].encode()


def test_a_broker_with_the_same_watermark_is_told_only_what_is_newer(
    database: Database, broker: RetainedTopics
) -> None:
    _add_state(database, 1)
    first = DesiredPublisher(database, epoch=1)
    first.compare(None)
    _tell(first, broker)
    newer = _add_state(database, 2)
    broker.order.clear()
    second = DesiredPublisher(database, epoch=1)
    assert second.compare(broker.retained[topics.HUB_WATERMARK]) is True
    _tell(second, broker)
    assert broker.order == [topics.down_desired(newer), topics.HUB_WATERMARK]


@pytest.mark.parametrize("mark", [None, b"", b"nonsense", b'{"epoch":1,"sequence":5}'])
def test_a_broker_with_another_watermark_is_told_everything(
    database: Database, broker: RetainedTopics, mark: bytes | None
) -> None:
    device_id = _add_state(database, 1)
    first = DesiredPublisher(database, epoch=1)
    first.compare(None)
    _tell(first, broker)
    broker.order.clear()
    second = DesiredPublisher(database, epoch=1)
    assert second.compare(mark) is False
    _tell(second, broker)
    assert broker.order == [topics.down_desired(device_id), topics.HUB_WATERMARK]


def test_what_was_not_confirmed_is_told_when_the_broker_is_back_and_no_mark_before(
    database: Database, broker: RetainedTopics
) -> None:
    device_id = _add_state(database, 1)
    publisher = DesiredPublisher(database, epoch=1)
    publisher.compare(None)
    broker.dies_after = 0
    with pytest.raises(MqttError):
        publisher.step(broker)
    broker.dies_after = None
    _tell(publisher, broker)
    assert broker.order == [topics.down_desired(device_id), topics.HUB_WATERMARK]


def test_nobody_is_told_again_before_a_device_that_is_at_it_would_have_reported() -> None:
    assert timedelta(seconds=LinkSettings().report_progress_s + 10) < _FIRST_REPEAT


def test_a_device_that_is_online_and_behind_is_told_again_less_and_less_often(
    database: Database, broker: RetainedTopics
) -> None:
    behind = _add_state(database, 1, presence="online")
    _add_state(database, 1, presence="offline")
    _add_state(database, 1, presence="online", reported_epoch=1, reported_generation=100)
    publisher = DesiredPublisher(database, epoch=1)
    told_at = []
    for second in range(0, 500, 5):
        publisher.repeat_for_those_behind(_behind(database), NOON + timedelta(seconds=second))
        publisher.step(broker)
        if topics.down_desired(behind) in broker.order:
            told_at.append(second)
        assert set(broker.order) <= {topics.down_desired(behind), topics.HUB_WATERMARK}
        broker.order.clear()
    assert told_at == [60, 180, 420]
    with database.transaction() as session:
        device = session.get_one(Device, behind)
        device.reported_epoch, device.reported_generation = 1, 100
    publisher.repeat_for_those_behind(_behind(database), NOON + timedelta(seconds=1000))
    publisher.step(broker)
    assert broker.order == []


def _behind(database: Database) -> list[str]:
    with database.session() as session:
        return out_of_step(session).behind
