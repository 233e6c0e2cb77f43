"""The audit trail: whole, append-only in the database, and anchored lately."""

from datetime import timedelta
from typing import Final

from sqlalchemy import text

from shoal_hub.audit.anchor import AnchorFile
from shoal_hub.audit.chain import examine
from shoal_hub.audit.export import entries_of
from shoal_hub.audit.key import read_public
from shoal_hub.doctor.check import Found, Patient, check, fail, ok, some, warn

_LATE: Final = timedelta(minutes=2)
_TRIGGERS: Final = {
    "sqlite": ("SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit_entries'", 3),
    "postgresql": (
        """SELECT count(*) FROM pg_trigger
           WHERE tgrelid = 'audit_entries'::regclass AND tgenabled <> 'D' AND NOT tgisinternal""",
        2,
    ),
}
_TAMPERED: Final = "find out who had access; compare with a backup and anchors kept elsewhere: shoal audit verify"
_UNSIGNED: Final = "see that the controller runs, and read its log: run/controller.log in the data folder"


@check("audit trail")
def audit_trail(patient: Patient) -> Found:
    """The chain holds, its anchors agree with it, and the last one is recent."""
    settings = patient.settings
    key = read_public(settings.data / "trust")
    report = examine(entries_of(patient.database), AnchorFile(settings.data).lines(), key, None)
    if not report.holds:
        return fail(some([one.message for one in report.findings]), _TAMPERED)
    if report.uncovered_since is not None and patient.now - report.uncovered_since > _LATE:
        left = f"{report.entries - report.covered} entries since {report.uncovered_since:%Y-%m-%d %H:%M} UTC"
        return fail(f"{left} have no anchor", _UNSIGNED)
    last_at = report.last_anchor_at
    if last_at is None or patient.now - last_at > timedelta(seconds=settings.audit_liveness_s) + _LATE:
        last = f"the last anchor is of {last_at:%Y-%m-%d %H:%M} UTC" if last_at else "there is no anchor"
        return warn(last, _UNSIGNED)
    return ok(f"{report.entries} entries, {report.covered} covered; last anchor {last_at:%Y-%m-%d %H:%M:%S} UTC")


@check("append-only")
def append_only(patient: Patient) -> Found:
    """The database refuses to change the trail."""
    query, wanted = _TRIGGERS[patient.database.engine.dialect.name]
    with patient.database.session() as session:
        connection = session.connection()
        found = connection.execute(text(query)).scalar_one()
    if found == wanted:
        return ok(f"{found} triggers keep the trail from being changed")
    remedy = "find out who dropped them, then verify the trail: shoal audit verify; restore the schema from a backup"
    return fail(f"{found} of {wanted} triggers of the trail's table are there", remedy)
