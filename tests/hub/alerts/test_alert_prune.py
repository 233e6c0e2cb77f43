"""What is over is let go when its time is over, and nothing else."""

from datetime import timedelta

from sqlmodel import Session, select
from tests.hub.alerts.conftest import Alerts

from shoal_hub.alerts.notify import notify
from shoal_hub.alerts.prune import AlertPruner
from shoal_hub.alerts.tables import AlertDelivery, AlertNotice, AlertRow, AlertSilence


def count(session: Session) -> list[int]:
    return [len(session.exec(select(one)).all()) for one in (AlertRow, AlertNotice, AlertDelivery, AlertSilence)]


def test_what_is_over_goes_with_its_notices_and_what_is_not_stays(alerts: Alerts) -> None:
    alerts.channel()
    now, old = alerts.now, alerts.now - timedelta(days=100)
    with alerts.hub.database.transaction() as session:
        for name, ended in (("a", old), ("b", now), ("c", None)):
            state = "resolved" if ended else "firing"
            fields = {"rule": name, "key": "{}", "state": state, "severity": "info", "labels": {}, "message": ""}
            session.add(AlertRow(id=f"al-{name}", pending_at=old, resolved_at=ended, **fields))
            session.flush()
            session.add(AlertNotice(alert_id=f"al-{name}", channel="ops", transition="firing", created_at=old))
        for key, state in (("sent", "sent"), ("waits", "queued")):
            [made] = notify(session, key=key, subject="s", title="t", now=old)
            session.get_one(AlertDelivery, made).state = state  # type: ignore[assignment]  # one of the two
        quiet = {"matchers": [], "starts_at": old, "reason": "", "created_by": "ada", "created_at": old}
        session.add_all([AlertSilence(id=f"as-{n}", ends_at=end, **quiet) for n, end in enumerate((old, now))])
    pruner = AlertPruner(alerts.hub.database, timedelta(days=90))
    assert pruner.step(now) == 3
    with alerts.hub.database.session() as session:
        assert count(session) == [2, 2, 1, 1]
    assert pruner.step(now + timedelta(days=400)) == 2
    with alerts.hub.database.session() as session:
        assert count(session) == [1, 1, 1, 0], "what fires, and what waits to be told"
