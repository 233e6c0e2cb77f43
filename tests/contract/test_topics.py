"""Topics: what is built can be read, and nothing else can."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shoal_contract import topics
from shoal_contract.errors import TopicError
from shoal_contract.ids import new_device_id
from shoal_contract.topics import UpChannel, UpTopic

DEVICE = "d-abcdefgh234567ab"
SHA = "0123456789abcdef" * 4
DEVICE_IDS = st.binary(min_size=10, max_size=10).map(lambda drawn: new_device_id(lambda _: drawn))
SHA256S = st.binary(min_size=32, max_size=32).map(bytes.hex)
INDEXES = st.integers(0, 9_999_999)


def test_topics_are_the_ones_that_brokers_in_the_field_have_rules_for() -> None:
    assert topics.down_desired(DEVICE) == f"shoal/1/device/{DEVICE}/down/desired"
    assert topics.down_task(DEVICE) == f"shoal/1/device/{DEVICE}/down/task"
    assert topics.down_ack(DEVICE) == f"shoal/1/device/{DEVICE}/down/ack"
    assert topics.up(DEVICE, "presence") == f"shoal/1/device/{DEVICE}/up/presence"
    assert topics.up_blob(DEVICE, SHA, 7) == f"shoal/1/device/{DEVICE}/up/blob/{SHA}/7"
    assert topics.artifact_manifest(SHA) == f"shoal/1/artifact/{SHA}/manifest"
    assert topics.artifact_chunk(SHA, 0) == f"shoal/1/artifact/{SHA}/0"
    assert topics.up_filter("event") == "shoal/1/device/+/up/event"
    assert topics.up_filter("blob") == "shoal/1/device/+/up/blob/+/+"
    assert topics.shared("s3cret", topics.up_filter("event")) == "$share/s3cret/shoal/1/device/+/up/event"
    assert (topics.ARTIFACT_FILTER, topics.TRUST_FILTER) == ("shoal/1/artifact/#", "shoal/1/trust/#")
    assert (topics.HUB_WATERMARK, topics.HUB_WAKE) == ("shoal/1/hub/watermark", "shoal/1/hub/wake")
    assert (topics.hub_alerts("ops"), topics.HUB_ALERTS_FILTER) == ("shoal/1/hub/alerts/ops", "shoal/1/hub/alerts/+")


@pytest.mark.parametrize("channel", ["", "a/b", "+", "#", "UPPER", "x" * 64, "ops\n"])
def test_no_topic_is_built_for_what_is_no_channel(channel: str) -> None:
    with pytest.raises(TopicError):
        topics.hub_alerts(channel)


@given(DEVICE_IDS, st.sampled_from(topics.UP_CHANNELS))
def test_a_channel_s_topic_reads_back(device_id: str, channel: UpChannel) -> None:
    assert topics.parse_up(topics.up(device_id, channel)) == UpTopic(device_id, channel)  # type: ignore[arg-type]


@given(DEVICE_IDS, SHA256S, INDEXES)
def test_a_blob_chunk_s_topic_reads_back(device_id: str, sha256: str, index: int) -> None:
    assert topics.parse_up(topics.up_blob(device_id, sha256, index)) == UpTopic(device_id, "blob", sha256, index)


_PART = st.sampled_from([
    "shoal", "1", "2", "device", DEVICE, "up", "down", "presence", "event", "blob", SHA, "0", "007", "-1", "٣", "+", ""
])  # fmt: skip


@given(st.text(max_size=120) | st.lists(_PART, max_size=9).map("/".join))
@example(f"shoal/1/device/{DEVICE}\n/up/presence")
@example(f"shoal/1/device/{DEVICE}/up/presence\n")
@example(f"shoal/1/device/{DEVICE}/up/blob/{SHA}\n/1")
@example(f"shoal/1/device/{DEVICE}/up/blob/{SHA}/1\n")
@example(f"shoal/1/device/{DEVICE}/up/blob/{SHA}/007")
@example(f"shoal/1/device/{DEVICE}/up/blob/{SHA}/10000000")
@example(f"shoal/1/device/{DEVICE}/up/blob")
def test_arbitrary_text_is_a_topic_that_we_build_or_a_topic_error(text: str) -> None:
    try:
        read = topics.parse_up(text)
    except TopicError:
        return
    if read.sha256 is not None and read.chunk is not None:
        assert topics.up_blob(read.device_id, read.sha256, read.chunk) == text
    else:
        assert topics.up(read.device_id, read.channel) == text  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "shoal/1/device",
        f"shoal/2/device/{DEVICE}/up/presence",
        f"shoal/1/device/{DEVICE}/down/desired",
        f"shoal/1/device/{DEVICE.upper()}/up/presence",
        f"shoal/1/device/+/up/presence",  # noqa: F541 - one form with its neighbours
        f"shoal/1/device/{DEVICE}/up/secrets",
        f"shoal/1/device/{DEVICE}/up/blob/{SHA}",
        f"shoal/1/device/{DEVICE}/up/blob/{SHA[:-1]}/1",
        f"shoal/1/device/{DEVICE}/up/blob/{SHA}/٣",
        f"/shoal/1/device/{DEVICE}/up/presence",
        f"$share/group/shoal/1/device/{DEVICE}/up/presence",
    ],
)
def test_topics_that_are_not_a_device_s_are_refused(topic: str) -> None:
    with pytest.raises(TopicError):
        topics.parse_up(topic)


@pytest.mark.parametrize("device_id", ["", "+", "#", "d-short", f"{DEVICE}\n", f"{DEVICE}/x", "D-ABCDEFGH234567AB"])
def test_no_topic_is_built_for_what_is_no_device_id(device_id: str) -> None:
    for build in (topics.down_desired, topics.down_task, topics.down_ack, lambda found: topics.up(found, "event")):
        with pytest.raises(TopicError, match="no device id"):
            build(device_id)


@pytest.mark.parametrize("sha256", ["", "+", SHA.upper(), f"{SHA}\n", SHA + "0", SHA[:-1]])
def test_no_topic_is_built_for_what_is_no_hash(sha256: str) -> None:
    with pytest.raises(TopicError, match="no SHA-256"):
        topics.artifact_manifest(sha256)


@pytest.mark.parametrize("index", [-1, 10_000_000])
def test_no_topic_is_built_for_a_chunk_index_that_would_not_read_back(index: int) -> None:
    with pytest.raises(TopicError, match="not between 0 and 9999999"):
        topics.artifact_chunk(SHA, index)


@given(DEVICE_IDS)
def test_device_ids_are_safe_in_topics_paths_and_common_names(device_id: str) -> None:
    assert set(device_id) <= set(string.ascii_lowercase + string.digits + "-")
    assert len(device_id) == 18
