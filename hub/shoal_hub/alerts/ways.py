"""Hands a message to a channel, whatever kind it is of."""

from typing import Final

from shoal_hub.alerts.broker import AlertConnection
from shoal_hub.alerts.channels import open_target
from shoal_hub.alerts.messages import AlertMessage
from shoal_hub.alerts.reach import Reach
from shoal_hub.alerts.send_http import IDEMPOTENCY_KEY, send_slack, send_webhook
from shoal_hub.alerts.send_mail import send_mail
from shoal_hub.alerts.tables import AlertChannel
from shoal_hub.alerts.targets import EmailTarget, MqttTarget, SlackTarget, WebhookTarget
from shoal_hub.database import utc_now
from shoal_hub.trust.version_keys import VersionKeys

ATTEMPT_S: Final = 10.0


class Ways:
    """Every way by which alerts leave the hub.

    Args:
        keys: Open channels' targets.
        reach: How far messages may come home.
        broker: Where messages of MQTT go.
        attempt_s: What one attempt takes at most.
    """

    def __init__(self, keys: VersionKeys, reach: Reach, broker: AlertConnection, attempt_s: float = ATTEMPT_S) -> None:
        self._keys = keys
        self._reach = reach
        self._broker = broker
        self._attempt_s = attempt_s

    def send(self, channel: AlertChannel, key: str, message: AlertMessage) -> str:
        """Hand a message over; return what a person should know although it was sent.

        Raises:
            HubError: It was not handed over, or nobody has said that it was.
        """
        match open_target(self._keys, channel):
            case WebhookTarget() as target:
                send_webhook(target, key, message, utc_now(), self._reach, self._attempt_s)
            case SlackTarget() as target:
                send_slack(target, key, message, self._reach, self._attempt_s)
            case EmailTarget() as target:
                return send_mail(target, key, message, self._reach, self._attempt_s)
            case MqttTarget():
                payload = message.model_dump_json().encode()
                self._broker.publish(channel.name, payload, {IDEMPOTENCY_KEY: key}, self._attempt_s)
        return ""
