"""Publishes desired states, retained, and keeps account with the broker of how far it was told.

The broker keeps a watermark beside the states. Where it is the one in the database, the broker has everything up to
it; where it is another, or none, the broker has lost something, and everything is told again.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

from pydantic import Field
from sqlalchemy import String, bindparam
from sqlalchemy import select as select_columns
from sqlmodel import col, func, select

from shoal_contract import topics
from shoal_contract.errors import MessageError
from shoal_contract.wire import WireMessage, parse_message
from shoal_hub.broker.config import MAX_INFLIGHT_MESSAGES
from shoal_hub.bulk import Query
from shoal_hub.database import Database, as_texts, is_among
from shoal_hub.devices.tables import DesiredRow
from shoal_hub.meters import DESIRED_PUBLISHED
from shoal_hub.mqtt import NONE
from shoal_hub.tracing.publications import traced_publications
from shoal_hub.tracing.remembered import recall_desired
from shoal_hub.transfer.publishing import Publisher
from shoal_hub.transfer.tables import Watermark

_BATCH: Final = 100
_CONFIRM_TIMEOUT_S: Final = 30.0
_FIRST_REPEAT: Final = timedelta(seconds=60)
"""A device that is at it reports after `LinkSettings.report_progress_s`; before that, nothing speaks for a loss."""
_LAST_REPEAT: Final = timedelta(minutes=5)
_MAX_MARK_BYTES: Final = 1024
_ZERO: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Mark(WireMessage):
    """The payload of `hub/watermark`; `sequence` is the issue time of the newest state told, Unix microseconds."""

    epoch: int = Field(ge=0)
    sequence: int = Field(ge=0)


class DesiredPublisher:
    """What of the desired states the broker does not have yet, in memory; after a restart the watermark tells.

    Attributes:
        epoch: Of the director key in force; the watermark carries it.
    """

    def __init__(self, database: Database, epoch: int) -> None:
        self._database = database
        self.epoch = epoch
        self._pending: dict[str, None] = {}
        self._is_mark_due = True
        self._told = Mark(epoch=0, sequence=0)
        self._repeats: dict[str, tuple[datetime, timedelta]] = {}

    def add(self, device_ids: list[str]) -> None:
        """Have these devices' states published."""
        self._pending |= dict.fromkeys(device_ids)
        self._is_mark_due = True

    def compare(self, retained: bytes | None) -> bool:
        """Compare the broker's watermark with the database's, and have published what the broker lacks.

        Args:
            retained: What the broker keeps; None for nothing.

        Returns:
            Whether the broker has all that it was told.
        """
        with self._database.session() as session:
            stored = session.get(Watermark, 1)
            mark = _read_mark(retained)
            is_same = stored is not None and mark is not None and (mark.epoch, mark.sequence) == _order(stored)
            wanted = select(DesiredRow.device_id).order_by(col(DesiredRow.issued_at))
            if is_same and mark is not None:
                self._told = mark
                wanted = wanted.where(col(DesiredRow.issued_at) > _ZERO + mark.sequence * _MICROSECOND)
            else:
                self._told = Mark(epoch=0, sequence=0)
            self.add(list(session.exec(wanted).all()))
        return is_same

    def repeat_for_those_behind(self, behind: Sequence[str], now: datetime) -> None:
        """Have states published again for devices that have been online and behind with them for a while."""
        for device_id in behind:
            due, wait = self._repeats.get(device_id, (now + _FIRST_REPEAT, _FIRST_REPEAT))
            if due <= now:
                self.add([device_id])
                wait = min(2 * wait, _LAST_REPEAT)
                due = now + wait
            self._repeats[device_id] = (due, wait)
        self._repeats = {device_id: self._repeats[device_id] for device_id in behind}

    def step(self, publisher: Publisher) -> bool:
        """Publish a batch, and the watermark once nothing is left; return whether more is to do.

        Raises:
            MqttError: The connection went; what was not confirmed stays to be done.
        """
        batch = list(islice(self._pending, _BATCH))
        if batch:
            self._publish(publisher, batch)
        if not self._pending and self._is_mark_due:
            self._publish_mark(publisher)
            self._is_mark_due = False
        return bool(self._pending)

    def _publish(self, publisher: Publisher, batch: list[str]) -> None:
        with self._database.session() as session:
            rows = _ENVELOPES.rows(session, ids=as_texts(batch))
            causes = recall_desired(session, batch)
        for start in range(0, len(rows), MAX_INFLIGHT_MESSAGES):
            part = rows[start : start + MAX_INFLIGHT_MESSAGES]
            with traced_publications(causes, [one for one, _ in part]) as told:
                with publisher.gathering():
                    sent = [(one, _publish(publisher, one, state, told)) for one, state in part]
                for device_id, future in sent:
                    future.result(_CONFIRM_TIMEOUT_S)
                    self._pending.pop(device_id, None)
            DESIRED_PUBLISHED.inc(len(sent))
        for device_id in batch:
            self._pending.pop(device_id, None)

    def _publish_mark(self, publisher: Publisher) -> None:
        with self._database.session() as session:
            newest: datetime | None = session.exec(select(func.max(DesiredRow.issued_at))).one()
        if newest is None:
            return
        mark = Mark(epoch=self.epoch, sequence=(newest - _ZERO) // _MICROSECOND)
        if mark == self._told:
            return
        publisher.publish(topics.HUB_WATERMARK, mark.to_bytes(), retain=True).result(_CONFIRM_TIMEOUT_S)
        with self._database.transaction() as session:
            session.merge(Watermark(id=1, epoch=mark.epoch, sequence=mark.sequence))
        self._told = mark


def _publish(
    publisher: Publisher, device_id: str, state: bytes, told: Mapping[str, Mapping[str, str]]
) -> "Future[None]":
    return publisher.publish(topics.down_desired(device_id), state, retain=True, properties=told.get(device_id, NONE))


_ENVELOPES: Final = Query(
    select_columns(col(DesiredRow.device_id), col(DesiredRow.envelope)).where(
        is_among(col(DesiredRow.device_id), bindparam("ids", type_=String()))
    )
)


def _order(row: Watermark) -> tuple[int, int]:
    return row.epoch, row.sequence


def _read_mark(retained: bytes | None) -> Mark | None:
    if not retained:
        return None
    try:
        return parse_message(Mark, retained, _MAX_MARK_BYTES)
    except MessageError:
        return None  # not one that we wrote: the same as none
