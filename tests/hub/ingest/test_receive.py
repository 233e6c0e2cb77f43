"""What ingest believes: what the device's own key has signed for this channel, and nothing that the broker adds."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.simulators.rows import NOON, make_report

from shoal_agent.signer import DeviceSigner
from shoal_contract import topics
from shoal_contract.compact_envelope import sign_compact
from shoal_contract.device_signature import SignedChannel, device_key_id, sign_up
from shoal_contract.errors import EnvelopeError, MessageError
from shoal_contract.ids import new_device_id
from shoal_contract.limits import MAX_REPORT_BYTES
from shoal_contract.reported import Presence
from shoal_contract.telemetry import Event, MissingArtifact, OutboxPosition
from shoal_contract.topics import UpTopic
from shoal_hub.ingest.receive import Received, Unreadable, read

DEVICE, OTHER_DEVICE = new_device_id(), new_device_id()
KEY, OTHER = ec.derive_private_key(3, ec.SECP256R1()), ec.derive_private_key(4, ec.SECP256R1())
KEYS = {device_key_id(KEY.public_key()): KEY.public_key()}
STREAM = "a" * 16
UNKNOWN_KIND = (
    b'{"event_id":"' + b"0" * 32 + b'","at":"2026-01-01T00:00:00Z","body":{"kind":"dance"},'
    b'"outbox":{"stream":"' + STREAM.encode() + b'","sequence":4,"oldest":2}}'
)


def sealed(channel: SignedChannel, message: bytes, key: ec.EllipticCurvePrivateKey = KEY) -> bytes:
    return sign_up(message, channel, key, device_key_id(key.public_key()))


def source(channel: SignedChannel) -> UpTopic:
    return topics.parse_up(topics.up(DEVICE, channel))


def test_a_signed_message_is_read_and_tells_which_key_signed_it() -> None:
    report = make_report()
    received = read(source("reported"), sealed("reported", report.to_bytes()), KEYS)
    assert received == (Received(DEVICE, report, device_key_id(KEY.public_key())),)


def test_a_broker_can_not_forge_a_reported_state() -> None:
    with pytest.raises(EnvelopeError):
        read(source("reported"), make_report().to_bytes(), KEYS)
    with pytest.raises(EnvelopeError, match="no valid signature"):
        read(source("reported"), sealed("reported", make_report().to_bytes(), OTHER), KEYS)


def test_a_broker_can_not_pass_one_device_s_message_off_as_another_s() -> None:
    """Each device's own keys are asked, so the envelope of another device is signed by nobody."""
    others = {device_key_id(OTHER.public_key()): OTHER.public_key()}
    with pytest.raises(EnvelopeError, match="no valid signature"):
        read(UpTopic(OTHER_DEVICE, "reported"), sealed("reported", make_report().to_bytes()), others)


def test_a_broker_can_not_pass_a_message_off_as_one_of_another_channel() -> None:
    presence = Presence(state="online", connection=1, sequence=0, since=NOON, instance="b" * 16)
    with pytest.raises(EnvelopeError, match="type"):
        read(source("event"), sealed("presence", presence.to_bytes()), KEYS)


def test_a_signed_kind_that_this_hub_does_not_know_is_unreadable_but_has_its_place() -> None:
    (received,) = read(source("event"), sealed("event", UNKNOWN_KIND), KEYS)
    assert isinstance(received.message, Unreadable)
    assert received.outbox == OutboxPosition(stream=STREAM, sequence=4, oldest=2)


def test_an_unsigned_message_gets_no_place_so_that_nothing_true_is_passed_over() -> None:
    with pytest.raises(EnvelopeError):
        read(source("event"), UNKNOWN_KIND, KEYS)


def test_signed_garbage_is_refused() -> None:
    garbage = (("event", b"\xff\x00"), ("presence", b"{}"), ("telemetry", b"[]"), ("events", b"{}"), ("windows", b"7"))
    for channel, message in garbage:
        with pytest.raises(MessageError):
            read(source(channel), sealed(channel, message), KEYS)  # type: ignore[arg-type]


def compact(channel: SignedChannel, message: bytes) -> bytes:
    return DeviceSigner(KEY).seal_compact(channel, message)


def test_the_compact_form_of_an_agent_is_read_as_the_other_is() -> None:
    for channel, message in (("event", UNKNOWN_KIND), ("reported", make_report().to_bytes())):
        form: SignedChannel = channel  # type: ignore[assignment]
        assert read(source(form), compact(form, message), KEYS) == read(source(form), sealed(form, message), KEYS)


def test_nothing_is_decompressed_that_is_not_signed_or_is_more_than_a_message_may_be() -> None:
    unsigned = compact("event", UNKNOWN_KIND)
    with pytest.raises(EnvelopeError, match="no valid signature"):
        read(source("event"), unsigned[:-1] + b"x", KEYS)
    with pytest.raises(MessageError, match=f"at most {MAX_REPORT_BYTES}"):
        read(source("event"), compact("event", b" " * (MAX_REPORT_BYTES + 1)), KEYS)
    for packed in (b"no zstd", b""):
        with pytest.raises((MessageError, EnvelopeError)):
            read(source("event"), sign_compact(packed, "event", KEY, device_key_id(KEY.public_key())), KEYS)


def batch(*messages: bytes) -> bytes:
    place = b'{"stream":"%b","sequence":4,"oldest":2}' % STREAM.encode()
    return b'{"outbox":%b,"messages":[%b]}' % (place, b",".join(messages))


def test_several_messages_in_one_are_read_each_by_itself_and_the_unreadable_keeps_its_place() -> None:
    body = MissingArtifact(sha256="1" * 64)
    place = OutboxPosition(stream=STREAM, sequence=99, oldest=1)
    good = Event(event_id="0" * 32, outbox=place, at=NOON, body=body).to_bytes()
    received = read(source("events"), sealed("events", batch(good, UNKNOWN_KIND, b"7", good)), KEYS)
    assert [type(one.message) for one in received] == [Event, Unreadable, Unreadable, Event]
    assert [one.outbox and (one.outbox.sequence, one.outbox.oldest) for one in received] == [
        (4, 2), (5, 2), (6, 2), (7, 2)
    ]  # fmt: skip
    assert {one.key_id for one in received} == {device_key_id(KEY.public_key())}


def test_a_report_is_read_with_the_events_that_it_carries() -> None:
    report = make_report()
    carrying = b'%b,"carried":%b}' % (report.to_bytes()[:-1], batch(UNKNOWN_KIND, b"7"))
    state, *carried = read(source("reported"), sealed("reported", carrying), KEYS)
    assert (state.message, state.outbox) == (report, None)
    assert [type(one.message) for one in carried] == [Unreadable, Unreadable]
    assert [one.outbox and one.outbox.sequence for one in carried] == [4, 5]
    alone = read(source("reported"), sealed("reported", carrying.replace(b"stream", b"river")), KEYS)
    assert [one.message for one in alone] == [state.message], "what is no batch takes nothing of the state along"


def test_several_messages_in_one_are_believed_under_their_own_type_alone() -> None:
    for channel in ("event", "telemetry", "windows"):
        with pytest.raises(EnvelopeError, match="type"):
            read(source("events"), sealed(channel, batch(UNKNOWN_KIND)), KEYS)  # type: ignore[arg-type]


def test_a_chunk_does_not_pass_for_a_message() -> None:
    with pytest.raises(MessageError, match="chunk"):
        read(UpTopic(DEVICE, "blob", "0" * 64, 0), b"data", KEYS)
