"""What a role lists stays within what devices take, and what would be more is refused before anything is signed."""

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tuf.api.metadata import Metadata, TargetFile

from shoal_contract import topics
from shoal_contract.ids import sha256_hex
from shoal_contract.limits import MAX_METADATA_BYTES, MAX_PACKET_BYTES
from shoal_contract.trust import manifest_target
from shoal_hub.database import Database, utc_now
from shoal_hub.errors import ConflictError
from shoal_hub.trust.hub_trust import HubTrust
from shoal_hub.trust.renewal import renew_due

if TYPE_CHECKING:
    from tests.hub.trust.conftest import TrustedHub

ROLE = "models/digits"
LISTED = 5_000
_LEFT_BYTES = 150
"""Less than one more manifest takes."""


def fill(database: Database, trust: HubTrust) -> int:
    """Have the role of `digits` list so many manifests, and be full; return its size in bytes, with its signature."""
    with database.transaction() as session:
        repository = trust.writing(session)
        repository.list_manifest("digits", 1, b"{}")
        with repository.edit_targets(ROLE) as targets:
            for number in range(1, LISTED):
                path = manifest_target("digits", number + 1, sha256_hex(str(number).encode()))
                targets.targets[path] = TargetFile.from_data(path, b"{}", ["sha256"])
            room_bytes = MAX_METADATA_BYTES - len(Metadata(targets).to_bytes())
            targets.unrecognized_fields["x-filler"] = "x" * (room_bytes - _LEFT_BYTES)
        repository.renew()
        row = repository.newest(ROLE)
        assert row is not None
        return len(row.content)


def test_as_many_manifests_as_fit_reach_a_device_in_one_packet(hub: "TrustedHub") -> None:
    size_bytes = fill(hub.database, hub.trust)
    assert size_bytes > MAX_METADATA_BYTES, "full, and signed"
    assert size_bytes + len(topics.trust_metadata(hub.version(ROLE), ROLE)) + 10_000 < MAX_PACKET_BYTES
    first = manifest_target("digits", 1, sha256_hex(b"{}"))
    assert hub.device().refresh(hub.files()).get_targetinfo(first) is not None


def test_one_manifest_more_than_devices_take_is_refused_before_anything_is_signed(
    hub: "TrustedHub", monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(hub.database, hub.trust)
    before = {role: hub.version(role) for role in (ROLE, "snapshot", "timestamp")}
    signed: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr("shoal_hub.trust.repository.add_signature", lambda _md, _signer, role: signed.append(role))
        with pytest.raises(ConflictError, match=f"role {ROLE}: it would have .* devices take {MAX_METADATA_BYTES}"):
            hub.publish("digits", LISTED + 1, b"{}")
    assert signed == []
    assert {role: hub.version(role) for role in before} == before
    hub.publish("letters", 1, b"{}")
    assert hub.version("models/letters") > 0, "another model has a role of its own"


def test_a_full_role_is_renewed_all_the_same(hub: "TrustedHub") -> None:
    fill(hub.database, hub.trust)
    before = hub.version(ROLE)
    assert renew_due(hub.database, hub.trust, utc_now() + timedelta(days=20))
    assert hub.version(ROLE) > before
