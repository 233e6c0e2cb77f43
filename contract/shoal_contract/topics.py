"""Every topic of the contract, built and taken apart here and nowhere else (`shoal/1/...`, MQTT 5)."""

import re
from typing import Final, Literal, NamedTuple
from urllib.parse import quote

from shoal_contract.errors import TopicError
from shoal_contract.ids import DEVICE_ID_PATTERN, NAME_PATTERN, SHA256_PATTERN

ROOT: Final = "shoal/1"
UpMessageChannel = Literal["presence", "reported", "telemetry", "event", "windows", "events"]
UP_CHANNELS: Final[tuple[UpMessageChannel, ...]] = ("presence", "reported", "telemetry", "event", "windows", "events")
"""`windows` and `events` carry several messages of the outbox in one, `telemetry` and `event` one each."""
BLOB_TAIL: Final = "blob/+/+"
"""What follows `up/` for blob chunks, as a filter: hash and index."""
UpChannel = Literal["presence", "reported", "telemetry", "event", "windows", "events", "blob"]

ARTIFACT_FILTER: Final = f"{ROOT}/artifact/#"
TRUST_FILTER: Final = f"{ROOT}/trust/#"
TRUST_TIMESTAMP: Final = f"{ROOT}/trust/timestamp"
"""Retained: the TUF timestamp, which names the snapshot and so everything else."""
TRUST_INDEX: Final = f"{ROOT}/trust/index"
"""Retained: the names of the TUF metadata that stand; unsigned, it can only delay."""
HUB_WATERMARK: Final = f"{ROOT}/hub/watermark"
"""Retained: how far the hub had told the broker everything; readable by the hub only."""
HUB_AUDIT: Final = f"{ROOT}/hub/audit"
"""Retained: the last signed anchor of the hub's audit trail; readable by the hub only."""
HUB_ALERTS_FILTER: Final = f"{ROOT}/hub/alerts/+"
"""Subscription to the alerts of all channels; readable by the hub only, and by whom the broker's rules let besides."""
HUB_WAKE: Final = f"{ROOT}/hub/wake"
"""Not retained: one of the hub's processes has committed something that another should look at."""

# Read with fullmatch: in Python, unlike in pydantic's expressions, a `$` also stands before a final line break.
_DEVICE_ID = re.compile(DEVICE_ID_PATTERN)
_SHA256 = re.compile(SHA256_PATTERN)
_NAME = re.compile(NAME_PATTERN)
_INDEX = re.compile(r"0|[1-9][0-9]{0,6}")
_UP_PARTS: Final = 6
_UP_BLOB_PARTS: Final = 8
_MAX_INDEX: Final = 9_999_999


class UpTopic(NamedTuple):
    """What an `up/` topic says: who sent what; `sha256` and `chunk` are set for blob chunks only."""

    device_id: str
    channel: UpChannel
    sha256: str | None = None
    chunk: int | None = None


def down_desired(device_id: str) -> str:
    """Retained: the device's signed desired state."""
    return f"{_device(device_id)}/down/desired"


def down_task(device_id: str) -> str:
    """Signed one-shot tasks for the device."""
    return f"{_device(device_id)}/down/task"


def down_ack(device_id: str) -> str:
    """What the hub has committed of the device's outbox, and its credits for blobs."""
    return f"{_device(device_id)}/down/ack"


def up(device_id: str, channel: UpMessageChannel) -> str:
    """One of the device's own channels."""
    return f"{_device(device_id)}/up/{channel}"


def up_blob(device_id: str, sha256: str, index: int) -> str:
    """Chunk `index` of the blob `sha256` that the device uploads."""
    return f"{_device(device_id)}/up/blob/{_hash(sha256)}/{_index(index)}"


def hub_alerts(channel: str) -> str:
    """Not retained: alerts for one channel of the hub; the user property `Idempotency-Key` tells repetitions."""
    if not _NAME.fullmatch(channel):
        msg = f"building a topic: {channel[:100]!r} is no name of a channel"
        raise TopicError(msg)
    return f"{ROOT}/hub/alerts/{channel}"


def device_filter(device_id: str) -> str:
    """Subscription to all that one device says or is told."""
    return f"{_device(device_id)}/#"


def device_up_filter(device_id: str) -> str:
    """Subscription to all that one device says."""
    return f"{_device(device_id)}/up/#"


def up_filter(channel: UpChannel) -> str:
    """Subscription that takes one channel of all devices."""
    tail = BLOB_TAIL if channel == "blob" else channel
    return f"{ROOT}/device/+/up/{tail}"


def shared(group_secret: str, topic_filter: str) -> str:
    """Shared subscription; the group's name is a random secret, as the broker does not check who joins."""
    return f"$share/{group_secret}/{topic_filter}"


def artifact_manifest(sha256: str) -> str:
    """Retained: the transfer manifest of an artifact."""
    return f"{ROOT}/artifact/{_hash(sha256)}/manifest"


def artifact_chunk(sha256: str, index: int) -> str:
    """Retained: chunk `index` of an artifact."""
    return f"{ROOT}/artifact/{_hash(sha256)}/{_index(index)}"


def trust_metadata(version: int, role: str) -> str:
    """Retained: one version of a TUF role's metadata, as the role's name is percent-encoded in TUF's file names."""
    if version < 1 or not role:
        msg = f"building a topic: version {version} of the role {role!r} is no TUF metadata"
        raise TopicError(msg)
    return f"{ROOT}/trust/{version}.{quote(role, safe='')}"


def parse_up(topic: str) -> UpTopic:
    """Take a device's topic apart.

    Raises:
        TopicError: The topic is not an `up/` topic of this contract.
    """
    parts = topic.split("/")
    is_up = len(parts) >= _UP_PARTS and parts[:3] == ["shoal", "1", "device"] and parts[4] == "up"
    if is_up and _DEVICE_ID.fullmatch(parts[3]):
        if len(parts) == _UP_PARTS and parts[5] in UP_CHANNELS:
            return UpTopic(parts[3], parts[5])
        if len(parts) == _UP_BLOB_PARTS and parts[5] == "blob" and _SHA256.fullmatch(parts[6]):
            return UpTopic(parts[3], "blob", parts[6], _parse_index(parts[7]))
    msg = f"reading topic {topic[:200]!r}: expected {ROOT}/device/<id>/up/<channel>"
    raise TopicError(msg)


def _parse_index(text: str) -> int:
    if not _INDEX.fullmatch(text):
        msg = f"reading a blob topic: chunk index {text[:20]!r} is not a number from 0 to {_MAX_INDEX}"
        raise TopicError(msg)
    return int(text)


def _device(device_id: str) -> str:
    if not _DEVICE_ID.fullmatch(device_id):
        msg = f"building a topic: {device_id!r} is no device id (d- and 16 base32 characters)"
        raise TopicError(msg)
    return f"{ROOT}/device/{device_id}"


def _hash(sha256: str) -> str:
    if not _SHA256.fullmatch(sha256):
        msg = f"building a topic: {sha256!r} is no SHA-256 of 64 lower-case hexadecimal digits"
        raise TopicError(msg)
    return sha256


def _index(index: int) -> int:
    if not 0 <= index <= _MAX_INDEX:
        msg = f"building a topic: chunk index {index} is not between 0 and {_MAX_INDEX}"
        raise TopicError(msg)
    return index
