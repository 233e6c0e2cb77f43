"""Signs desired states again in batches: at half of their life, and all of them after the director's key was rotated.

The content stays as the composer made it, so it is taken from the state that stands. What has to be composed anew is
marked stale and goes through `refresh_desired`.
"""

import base64
import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import bindparam
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, or_, select, update

from shoal_contract.desired import DesiredState
from shoal_contract.envelope import DESIRED_STATE_TYPE
from shoal_hub.bulk import Query
from shoal_hub.database import UtcDateTime, announce
from shoal_hub.devices.desired import is_due
from shoal_hub.devices.tables import DesiredRow, Device
from shoal_hub.trust.director import Director

BATCH: Final = 500
"""States that one transaction signs."""
_CHANGED: Final = ("epoch", "generation", "envelope", "issued_at", "expires_at")


def states_to_sign(session: Session, epoch: int, now: datetime, life: timedelta) -> list[str]:
    """Return devices whose state is of an earlier director key than `epoch`, or is half through its life."""
    session.flush()  # they are read by column
    rows = _TO_SIGN.rows(session, epoch=epoch, before=now - life / 2)
    return [device_id for device_id, of, at in rows if of < epoch or is_due(device_id, at, now, life)]


_TO_SIGN: Final = Query(
    select_columns(col(DesiredRow.device_id), col(DesiredRow.epoch), col(DesiredRow.issued_at))
    .join(Device, col(Device.id) == col(DesiredRow.device_id))
    .where(
        col(Device.revoked_at).is_(None),
        or_(
            col(DesiredRow.epoch) < bindparam("epoch"),
            col(DesiredRow.issued_at) < bindparam("before", type_=UtcDateTime()),
        ),
    )
    .order_by(col(DesiredRow.issued_at))
)


def sign_states(
    session: Session, director: Director, device_ids: Sequence[str], now: datetime, life: timedelta
) -> None:
    """Sign these devices' states again, with the content that they have.

    Args:
        session: An open transaction.
        director: Signs. For states of an earlier key of it the generation begins anew.
        device_ids: The devices, at most `BATCH`.
        now: The clock.
        life: How long a device may start to act on a state.
    """
    rows = session.exec(select(DesiredRow).where(col(DesiredRow.device_id).in_(device_ids))).all()
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in _CHANGED}
    statement = update(DesiredRow).where(col(DesiredRow.device_id) == bindparam("of_device")).values(values)
    session.connection().execute(statement, list(_signed(rows, director, now, now + life)))
    session.expire_all()
    announce(session, "devices")


def _signed(rows: Sequence[DesiredRow], director: Director, now: datetime, until: datetime) -> Iterator[dict[str, Any]]:
    for row in rows:
        is_new_epoch = row.epoch < director.epoch
        generation = max(1, int(now.timestamp() * 1000)) if is_new_epoch else row.generation
        before = DesiredState.model_validate_json(base64.b64decode(json.loads(row.envelope)["payload"]))
        fields = {"epoch": director.epoch, "generation": generation, "issued_at": now, "expires_at": until}
        state = before.model_copy(update=fields)
        yield {
            "of_device": row.device_id,
            "new_epoch": director.epoch,
            "new_generation": generation,
            "new_envelope": director.sign(state.to_bytes(), DESIRED_STATE_TYPE),
            "new_issued_at": now,
            "new_expires_at": until,
        }
