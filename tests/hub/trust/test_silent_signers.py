"""A token or a service that holds a key and does not answer, in the middle of a rotation."""

from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from securesystemslib.signer import Signer

from shoal_client.tuf import Rotation
from shoal_hub.trust.errors import SignerError

if TYPE_CHECKING:
    from tests.hub.trust.conftest import TrustedHub


def rotate(hub: "TrustedHub", role: str) -> bool:
    with hub.database.transaction() as session:
        return hub.trust.rotate(session, Rotation(role=role))


@pytest.mark.parametrize("role", ["root", "snapshot", "models", "models/digits"])
def test_a_rotation_that_a_silent_signer_would_leave_half_done_changes_nothing(hub: "TrustedHub", role: str) -> None:
    """Devices would know of a key whose metadata no signed timestamp names."""
    hub.publish("digits", 1, b"{}")
    device, before = hub.device(), hub.files()
    with hub.database.session() as session:
        root = hub.trust.reading(session).root()
    (key_id,) = root.roles["timestamp"].keyids
    silent = Mock(spec=Signer, public_key=root.keys[key_id])
    silent.sign.side_effect = ConnectionError("no answer")
    hub.trust.online._opened[key_id] = silent
    if role == "root":  # the timestamp's metadata stays as it is
        assert rotate(hub, role)
    else:
        with pytest.raises(SignerError, match="could not verify timestamp afterwards: signing the metadata"):
            rotate(hub, role)
        assert hub.files() == before
    device.refresh(hub.files())
    assert rotate(hub, "timestamp"), "another key for it is the way out"
    assert rotate(hub, role)
    device.refresh(hub.files())
