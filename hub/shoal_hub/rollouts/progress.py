"""Notes the steps that devices tell of. How a deployment ends is decided by the reported state alone."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, BindParameter, String, and_, bindparam, case, or_
from sqlmodel import Session, col, select, update

from shoal_contract.telemetry import DeploymentEvent
from shoal_hub.bulk import Bulk, Query
from shoal_hub.database import announce, as_texts, is_among
from shoal_hub.registry.costs import take_costs
from shoal_hub.registry.tables import VariantRow, Version
from shoal_hub.rollouts.tables import Deployment, Rollout

STEPS: Final = "steps"
"""The word for readers that a step was noted. No rollout gets further by one, so the controller does not look."""


def note_steps(session: Session, told: Sequence[tuple[str, DeploymentEvent]], now: datetime) -> None:
    """Show devices' latest steps in their open deployments, and keep what has travelled and what they have measured.

    What has travelled is noted also after the end; a later attempt that found the file there takes nothing back of it.
    A measurement counts for the file that the device was given by the deployment that it names, and for no other.

    Args:
        session: An open transaction.
        told: Device ids and what they told, in the order in which it came.
        now: The clock.
    """
    latest: dict[tuple[str, str], dict[str, Any]] = {}
    for device_id, body in told:
        row = latest.setdefault(
            (body.deployment, device_id), {"of_deployment": body.deployment, "of_device": device_id, "bytes": None}
        )
        row["new_step"] = body.step
        if body.step != "fetch" and (row["bytes"] is None or row["bytes"] < body.fetched_bytes):
            row["bytes"] = body.fetched_bytes  # before `fetch` has ended nothing has travelled
    if latest:
        # In the order in which the controller writes them: two writers then wait for each other in turn.
        _NOTE.execute(session, [latest[place] for place in sorted(latest)])
        announce(session, STEPS)
    if measured := [one for one in told if one[1].cost is not None]:
        _take_costs(session, measured, now)


def _take_costs(session: Session, measured: Sequence[tuple[str, DeploymentEvent]], now: datetime) -> None:
    given = _given_files(session, {body.deployment for _, body in measured})
    costs = [
        (device_id, body.cost)
        for device_id, body in measured
        if body.cost is not None and given.get((body.deployment, device_id)) == body.cost.sha256
    ]
    if costs:
        take_costs(session, costs, now)


def _given_files(session: Session, deployments: Collection[str]) -> dict[tuple[str, str], str]:
    """Return the file of the variant that each of these deployments gave its device, by deployment and device."""
    rows = _GIVEN.rows(session, ids=as_texts(deployments))
    return {(deployment, device_id): sha256 for deployment, device_id, sha256 in rows}


_is_open: Final = or_(col(Deployment.state) == "assigned", col(Deployment.state) == "working")  # IN takes no many rows
_known: Final = col(Deployment.fetched_bytes)
_bytes: Final[BindParameter[int | None]] = bindparam("bytes", type_=BigInteger)
_NOTE: Final = Bulk(
    update(Deployment)
    .where(
        col(Deployment.id) == bindparam("of_deployment"),
        col(Deployment.device_id) == bindparam("of_device"),
    )
    .values(
        state=case((_is_open, "working"), else_=col(Deployment.state)),
        step=case((_is_open, bindparam("new_step")), else_=col(Deployment.step)),
        fetched_bytes=case((and_(_bytes.is_not(None), or_(_known.is_(None), _known < _bytes)), _bytes), else_=_known),
    )
)
_GIVEN: Final = Query(
    select(Deployment.id, Deployment.device_id, VariantRow.sha256)
    .join(Rollout, col(Rollout.id) == col(Deployment.rollout_id))
    .join(Version, and_(col(Version.model) == col(Rollout.model), col(Version.number) == col(Rollout.version)))
    .join(
        VariantRow,
        and_(col(VariantRow.version_id) == col(Version.id), col(VariantRow.target) == col(Deployment.target)),
    )
    .where(is_among(col(Deployment.id), bindparam("ids", type_=String())))
)
