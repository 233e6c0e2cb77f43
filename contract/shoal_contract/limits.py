"""Every bound that the wire puts on a message, with its unit. Both sides check on receipt."""

from typing import Final

MAX_PACKET_BYTES: Final = 1_048_576
"""The broker refuses a larger MQTT packet."""
MAX_ENVELOPE_BYTES: Final = 256 * 1024
"""A signed desired state or task, envelope included."""
MAX_REPORT_BYTES: Final = 128 * 1024
"""Presence, reported state, one event, one telemetry message, or several of the outbox in one."""
MAX_BATCH_MESSAGES: Final = 64
"""Messages of the outbox that travel in one; together they are bounded by `MAX_REPORT_BYTES`."""
MAX_PASSED_STEPS: Final = 16
"""Steps of a deployment that are told with a later one."""
MAX_SIGNED_REPORT_BYTES: Final = 4 * MAX_REPORT_BYTES // 3 + 1024
"""The same in the device's envelope, which carries it as base64."""
MAX_MANIFEST_BYTES: Final = 4 * 1024 * 1024
"""A version manifest."""
MAX_ROOT_BYTES: Final = 512_000
"""TUF root metadata; as much as TUF's own client takes."""
MAX_METADATA_BYTES: Final = 1_000_000
"""TUF metadata of one role without its signatures: with them, and its topic, it travels in one packet."""
MAX_CHUNK_LIST_BYTES: Final = 512 * 1024
"""A transfer manifest: at most 7,000 chunk hashes."""
MAX_INTEGER: Final = 2**63 - 1
"""Every integer fits the 64-bit column that it may land in; JSON itself has no bound."""
MAX_ARTIFACT_BYTES: Final = 64 * 1024 * 1024
"""The largest artifact that travels as retained chunks."""
MAX_HTTPS_ARTIFACT_BYTES: Final = 1024 * 1024 * 1024
"""The largest artifact that travels at all: what is larger than `MAX_ARTIFACT_BYTES` comes over HTTPS ranges alone."""
MAX_RANGE_BYTES: Final = 1024 * 1024
"""What one request over HTTPS may ask of an artifact; the largest chunk fits."""
MAX_DEVICE_REQUEST_BYTES: Final = 4 * 1024
"""A device's signed request over HTTPS, as it stands in the header."""
MAX_BLOB_BYTES: Final = 64 * 1024 * 1024
"""The largest blob that a device may upload."""
MAX_CAPTURE_BYTES: Final = 8 * 1024 * 1024
"""The largest captured sample that a device sends, with what is known of it."""
CHUNK_SIZES_BYTES: Final = (16 * 1024, 128 * 1024, 512 * 1024)
"""The chunk sizes that a transfer manifest may name."""
DEFAULT_CHUNK_BYTES: Final = 128 * 1024
"""Of what travels over MQTT: at 64 kbit/s a chunk keeps what the hub says next waiting for 16 seconds."""
LARGE_CHUNK_BYTES: Final = 512 * 1024
"""Of what is larger than `MAX_ARTIFACT_BYTES`: over HTTPS, on a connection of its own, a chunk delays no message."""
MAX_DELTAS: Final = 64
"""Deltas to one artifact that its transfer manifest may name."""
MAX_ACK_BLOBS: Final = 64
"""Blobs that one acknowledgement may speak of."""
MAX_SITE_MEMBERS: Final = 512
"""Neighbours of one site's cache; its desired state names each of them."""
MAX_HANDOVER_PEERS: Final = 32
"""Who may take requests from one device of a site, and whose it takes."""
MAX_FEATURES_BYTES: Final = 64 * 1024
"""The section `features` of one desired state, as JSON: what else it says has to have room beside it."""
MAX_COMPOSITION_BYTES: Final = 4 * 1024
"""One section `compositions/<name>` of a desired state, as JSON."""
MAX_BATCH_BYTES: Final = 4 * 1024
"""One section `batches/<name>` of a desired state, as JSON."""
MAX_BENCHMARK_BYTES: Final = 16 * 1024
"""One section `benchmarks/<name>` of a desired state, as JSON."""
MAX_TENSOR_BYTES: Final = 1024 * 1024
"""One golden tensor inside a manifest."""
MAX_GENERATED_BYTES: Final = 64 * 1024 * 1024
"""Golden inputs of one manifest that each side makes by itself; also one golden output of which a part travels."""
MAX_LABELS: Final = 32_768
"""Labels of one version; the manifest's own bound holds as well."""
MAX_WATCHED_LABELS: Final = 1024
"""Predicted labels are counted in windows up to so many; of a version with more, the inputs alone are watched."""
