"""Alerts of a whole controller: from a row to a webhook and to the broker, which no device can listen in on."""

import json
from pathlib import Path

from tests.hub.alerts.conftest import SECRET
from tests.hub.broker.test_access import connected
from tests.simulators.alert_receiver import receiver
from tests.simulators.broker import listening, running_broker
from tests.simulators.hub_threads import running_hub
from tests.simulators.rows import add_version

from shoal_contract import topics
from shoal_contract.ids import new_device_id
from shoal_hub.alerts.channels import ChannelChange, put_channel
from shoal_hub.alerts.tables import AlertSeverity
from shoal_hub.alerts.targets import MqttTarget, Target, WebhookTarget
from shoal_hub.database import utc_now
from shoal_hub.mqtt import Message
from shoal_hub.rollouts.tables import Rollout

WAIT_S = 60
SETTINGS = {
    "alerts_every_s": 1.0,
    "alerts_group_wait_s": 0.0,
    "alerts_group_interval_s": 0.0,
    "alerts_reach": "loopback",
}


def test_a_controller_tells_of_what_is_stuck_and_of_its_end_once(tmp_path: Path) -> None:
    least: AlertSeverity = "info"
    with (
        running_broker(tmp_path) as broker,
        receiver() as hooks,
        listening(broker.endpoint("hub-ears"), topics.HUB_ALERTS_FILTER) as ears,
        running_hub(tmp_path, broker, **SETTINGS) as hub,
    ):
        (tmp_path / "stranger").mkdir()
        with connected(broker, new_device_id(), tmp_path / "stranger") as device:
            device.subscribe(topics.HUB_ALERTS_FILTER)
            with hub.database.transaction() as session:
                hook = WebhookTarget.model_validate({"url": hooks.url, "secret": SECRET})
                targets: dict[str, Target] = {"hook": hook, "topic": MqttTarget()}
                for name, target in targets.items():
                    change = ChannelChange(target, least, is_enabled=True)
                    put_channel(session, hub.version_keys, name, change, by="ada", now=utc_now())
                add_version(session, hub.store, 1, {})
                session.add(
                    Rollout(
                        id="r-1",
                        model="digits",
                        version=1,
                        manifest_sha256="0" * 64,
                        manifest_size_bytes=1,
                        state="paused",
                        waves=[1],
                        timeout_s=60,
                        created_by="ada",
                        created_at=utc_now(),
                    )
                )
            heard = [json.loads(ears.wait_for(Message, WAIT_S).payload)]
            assert hooks.asked.acquire(timeout=WAIT_S)
            with hub.database.transaction() as session:
                session.get_one(Rollout, "r-1").state = "succeeded"
            heard.append(json.loads(ears.wait_for(Message, WAIT_S).payload))
            assert hooks.asked.acquire(timeout=WAIT_S)
            assert device.hears_nothing()
        assert [one["status"] for one in heard] == ["firing", "resolved"]
        assert [json.loads(one.body)["status"] for one in hooks.taken] == ["firing", "resolved"]
        assert len(set(hooks.keys)) == 2
