"""Each way by which alerts go, to real servers: HTTP, SMTP with STARTTLS, Mosquitto."""

import hashlib
import hmac
import json
import queue
import time
from collections.abc import Iterator
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from tests.hub.alerts.conftest import SECRET, URL, Alerts
from tests.simulators.alert_receiver import Behaviour, Receiver, receiver
from tests.simulators.broker import Broker, running_broker
from tests.simulators.mail_server import mail_server
from tests.simulators.rows import NOON

from shoal_contract import topics
from shoal_hub.alerts.broker import AlertConnection
from shoal_hub.alerts.channels import ChannelChange, put_channel
from shoal_hub.alerts.deliver import Deliverer, Retry
from shoal_hub.alerts.errors import DeliveryError
from shoal_hub.alerts.messages import AlertMessage
from shoal_hub.alerts.notify import notify
from shoal_hub.alerts.reach import Reach
from shoal_hub.alerts.send_http import send_slack, send_webhook
from shoal_hub.alerts.send_mail import send_mail
from shoal_hub.alerts.tables import AlertDelivery
from shoal_hub.alerts.targets import EmailTarget, MqttTarget, SlackTarget, Target, WebhookTarget
from shoal_hub.alerts.ways import Ways
from shoal_hub.database import utc_now
from shoal_hub.mqtt import Endpoint
from shoal_hub.trust.ca import Identity

WAIT_S = 30
MESSAGE = AlertMessage(
    about="drift", status="firing", severity="warning", title="Drift of <digits> & co", text="line\nline", at=NOON
)
NOWHERE = Endpoint("127.0.0.1", 1, Path("none"), Identity(Path("none"), Path("none")))


@pytest.fixture
def hooks() -> Iterator[Receiver]:
    with receiver() as server:
        yield server


def webhook(url: str) -> WebhookTarget:
    return WebhookTarget.model_validate({"url": url, "secret": SECRET})


def post(target: WebhookTarget, timeout_s: float = 10, reach: Reach = "loopback") -> None:
    send_webhook(target, "the-key", MESSAGE, NOON, reach, timeout_s)


def test_a_webhook_is_signed_with_its_time_and_bears_its_key(hooks: Receiver) -> None:
    post(webhook(hooks.url))
    [taken] = hooks.taken
    assert json.loads(taken.body) == MESSAGE.model_dump(mode="json")
    timestamp = taken.headers["shoal-timestamp"]
    expected = hmac.new(SECRET.encode(), timestamp.encode() + b"." + taken.body, hashlib.sha256).hexdigest()
    assert taken.headers["shoal-signature"] == f"sha256={expected}"
    assert timestamp == str(int(NOON.timestamp()))
    assert taken.headers["idempotency-key"] == "the-key"
    assert (taken.path, taken.headers["content-type"]) == ("/hooks/secret-path", "application/json")


@pytest.mark.parametrize(("behaviour", "reason"), [("fail", "503"), ("redirect", "302"), ("hang", "0.5 s")])
def test_what_is_not_taken_is_told_without_what_is_secret(hooks: Receiver, behaviour: Behaviour, reason: str) -> None:
    hooks.script.append(behaviour)
    with pytest.raises(DeliveryError, match=reason) as caught:
        post(webhook(hooks.url), timeout_s=0.5)
    assert "secret" not in str(caught.value)
    assert len(hooks.taken) == (behaviour == "redirect"), "nobody goes where an answer points"


def test_a_receiver_that_answers_byte_by_byte_is_not_waited_for_for_ever(hooks: Receiver) -> None:
    hooks.script.append("drip")
    began = time.monotonic()
    with pytest.raises(DeliveryError, match="has not answered"):
        post(webhook(hooks.url), timeout_s=1)
    assert time.monotonic() - began < WAIT_S / 2


def test_the_hub_s_own_machine_is_reached_where_a_setting_says_so_alone(hooks: Receiver) -> None:
    for reach in ("public", "lan"):
        with pytest.raises(DeliveryError, match="SHOAL_ALERTS_REACH"):
            post(webhook(hooks.url), reach=reach)  # type: ignore[arg-type]
    assert hooks.taken == []


def test_a_chat_gets_text_in_which_nothing_is_a_mention(hooks: Receiver) -> None:
    send_slack(SlackTarget.model_validate({"url": hooks.url}), "the-key", MESSAGE, "loopback", 10)
    assert json.loads(hooks.taken[0].body) == {"text": "*Drift of &lt;digits&gt; &amp; co*\nline\nline"}


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A certificate for localhost, whose CA the system trusts."""
    from shoal_hub.trust.ca import DeviceAuthority

    authority = DeviceAuthority.open(tmp_path / "trust")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate_path))
    identity = authority.issue_server(["localhost"])
    return identity.certificate, identity.key


def mailbox(port: int, **changes: Any) -> EmailTarget:
    fields = {"host": "localhost", "port": port, "sender": "shoal@plant.example", "to": ["ada@plant.example"]}
    return EmailTarget.model_validate(fields | changes)


def test_mail_goes_encrypted_with_a_message_id_of_its_key(certificate: tuple[Path, Path]) -> None:
    with mail_server(*certificate) as server:
        target = mailbox(server.port, to=["ada@plant.example", "bob@plant.example"], username="shoal", password="pw")
        assert send_mail(target, "the-key", MESSAGE, "loopback", 10) == ""
        [mail] = server.mails
    assert (mail.was_encrypted, mail.login) == (True, "|shoal|pw")
    assert mail.recipients == ["ada@plant.example", "bob@plant.example"]
    assert mail.message["Message-ID"] == "<the-key@plant.example>"
    assert mail.message["Subject"] == MESSAGE.title
    assert mail.message["Idempotency-Key"] == "the-key"
    assert parsedate_to_datetime(mail.message["Date"]) == NOON
    assert mail.message.get_content().splitlines()[-2:] == ["line", "line"]


def test_a_server_without_tls_or_with_another_s_certificate_gets_no_mail(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with mail_server() as server:
        with pytest.raises(DeliveryError, match="SMTPNotSupportedError"):
            send_mail(mailbox(server.port, username="shoal", password="pw"), "k", MESSAGE, "loopback", 10)
        assert server.mails == []
    monkeypatch.delenv("SSL_CERT_FILE")
    with mail_server(*certificate) as server:
        with pytest.raises(DeliveryError, match="SSLCertVerificationError"):
            send_mail(mailbox(server.port), "k", MESSAGE, "loopback", 10)
        assert server.mails == []


def test_a_recipient_that_is_refused_is_told_and_the_others_get_no_second_mail(certificate: tuple[Path, Path]) -> None:
    with mail_server(*certificate) as server:
        server.refused = {"bob@plant.example"}
        target = mailbox(server.port, to=["ada@plant.example", "bob@plant.example"])
        assert "refused 1 of 2" in send_mail(target, "k", MESSAGE, "loopback", 10)
        assert [mail.recipients for mail in server.mails] == [["ada@plant.example"]]
        server.is_failing = True
        with pytest.raises(DeliveryError, match="451"):
            send_mail(target, "k", MESSAGE, "loopback", 10)


def test_a_header_takes_no_second_line() -> None:
    for bad in ("ada@plant.example\r\nBcc: eve@evil.example", "a@b, c@d", "<a@b>"):
        with pytest.raises(ValueError, match="to"):
            mailbox(25, to=[bad])
    with pytest.raises(ValueError, match="this machine only"):
        mailbox(25, host="mail.plant.example", security="none")


def outbox_to(alerts: Alerts, target: Target, attempt_s: float = 10.0, broker: Endpoint = NOWHERE) -> Deliverer:
    """Return what empties the outbox over the real ways, with one channel."""
    keys = alerts.hub.version_keys
    with alerts.hub.database.transaction() as session:
        change = ChannelChange(target, "info", is_enabled=True)
        put_channel(session, keys, "ops", change, by="ada", now=alerts.now)
        notify(session, key="k", subject="s", title="Hello", now=alerts.now)
    ways = Ways(keys, "loopback", AlertConnection(broker), attempt_s)
    return Deliverer(alerts.hub.database, ways.send, Retry(5, 60, 3600, attempt_s), lambda: alerts.now, lambda: 1.0)


def drive(alerts: Alerts, deliverer: Deliverer) -> AlertDelivery:
    """Try until the one delivery has ended."""
    for _ in range(20):
        deliverer.step(alerts.now)
        assert deliverer.settle(WAIT_S)
        [row] = alerts.deliveries()
        if row.state != "queued":
            return row
        alerts.pass_time(60)
    raise AssertionError(row.problem)


def test_a_receiver_that_fails_hangs_and_answers_too_late_gets_it_once_by_its_key(
    alerts: Alerts, hooks: Receiver
) -> None:
    hooks.script.extend(["fail", "hang", "take_late", "take"])
    row = drive(alerts, outbox_to(alerts, webhook(hooks.url), attempt_s=0.5))
    assert (row.state, row.attempts) == ("sent", 4)
    assert hooks.keys == [row.key, row.key], "it has it twice, and can tell"
    assert hooks.taken[0].body == hooks.taken[1].body
    drive(alerts, outbox_to(alerts, webhook(hooks.url)))
    assert len(hooks.taken) == 2, "what was taken is sent no more"


def test_a_receiver_that_is_not_there_yet_gets_it_when_it_is(sqlite_alerts: Alerts, hooks: Receiver) -> None:
    alerts = sqlite_alerts
    deliverer = outbox_to(alerts, webhook("http://127.0.0.1:1/"))
    deliverer.step(alerts.now)
    assert deliverer.settle(WAIT_S)
    assert "connecting to 127.0.0.1:1" in alerts.deliveries()[0].problem
    alerts.pass_time(60)
    assert drive(alerts, outbox_to(alerts, webhook(hooks.url))).attempts == 2
    assert len(hooks.keys) == 1


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_broker(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture
def heard(broker: Broker) -> Iterator["queue.SimpleQueue[paho.MQTTMessage]"]:
    """What a program hears on the topics of alerts, with the properties of each message."""
    messages: queue.SimpleQueue[paho.MQTTMessage] = queue.SimpleQueue()
    granted: queue.SimpleQueue[None] = queue.SimpleQueue()
    endpoint = broker.endpoint("hub-ears")
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.tls_set(str(endpoint.authority), str(endpoint.identity.certificate), str(endpoint.identity.key))
    client.on_message = lambda _client, _data, message: messages.put(message)
    client.on_connect = lambda one, *_: one.subscribe(topics.HUB_ALERTS_FILTER, qos=1)
    client.on_subscribe = lambda *_: granted.put(None)
    client.connect(endpoint.host, endpoint.port)
    client.loop_start()
    granted.get(timeout=WAIT_S)
    yield messages
    client.disconnect()
    client.loop_stop()


def test_the_broker_gets_alerts_on_the_channel_s_topic_with_the_key_as_a_property(
    alerts: Alerts, broker: Broker, heard: "queue.SimpleQueue[paho.MQTTMessage]"
) -> None:
    row = drive(alerts, outbox_to(alerts, MqttTarget(), broker=broker.endpoint("hub-alerts")))
    message = heard.get(timeout=WAIT_S)
    assert (message.topic, message.retain, message.qos) == ("shoal/1/hub/alerts/ops", False, 1)
    assert message.properties is not None
    assert vars(message.properties)["UserProperty"] == [("Idempotency-Key", row.key)]
    assert json.loads(message.payload)["title"] == "Hello"


def test_a_broker_that_is_away_is_told_of_and_tried_again(tmp_path: Path) -> None:
    with running_broker(tmp_path) as own:
        connection = AlertConnection(own.endpoint("hub-alerts"))
        connection.publish("ops", b"{}", {"Idempotency-Key": "k"}, WAIT_S)
        own.process.stop()
        with pytest.raises(DeliveryError, match="no connection to the broker: connecting"):
            connection.publish("ops", b"{}", {"Idempotency-Key": "k"}, 0.5)
        own.process.ensure()
        connection.publish("ops", b"{}", {"Idempotency-Key": "k"}, WAIT_S)


def test_a_test_message_tells_how_it_went(alerts: Alerts, hooks: Receiver) -> None:
    target = {"kind": "webhook", "url": hooks.url, "secret": SECRET}
    alerts.client.put(f"{URL}/channels/ops", json={"target": target, "least_severity": "critical"}).raise_for_status()
    asked = alerts.client.post(f"{URL}/channels/ops/test")
    assert asked.status_code == 202, asked.text
    ways = Ways(alerts.hub.version_keys, "loopback", AlertConnection(NOWHERE))
    deliverer = Deliverer(alerts.hub.database, ways.send, Retry(5, 60, 3600, 10))
    assert deliverer.step(utc_now() + timedelta(seconds=1)) == 1
    assert deliverer.settle(WAIT_S)
    assert alerts.client.get(f"{URL}/deliveries/{asked.json()['id']}").json()["state"] == "sent"
    assert json.loads(hooks.taken[0].body)["title"] == "[test] Shoal can reach you"
