"""A role's key inside a PKCS #11 token: SoftHSM, through the same URL as a real one."""

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlmodel import select

from shoal_client.tuf import Rotation, SigningRequest
from shoal_contract.ids import sha256_hex
from shoal_contract.trust import manifest_target
from shoal_hub.database import utc_now
from shoal_hub.trust.errors import SignerError, TrustError
from shoal_hub.trust.offline import Plan, make_ceremony, open_signer_url, sign_request
from shoal_hub.trust.staging import Staging
from shoal_hub.trust.status import read_status
from shoal_hub.trust.tables import StagedMetadata

if TYPE_CHECKING:
    from tests.hub.trust.conftest import TrustedHub

PIN = "1234-the-pin"
TYPED = b"several words are easy to keep"
URL = "hsm:7?label=shoal"
_CACHE = Path(__file__).parents[3] / ".cache"
"""Where scripts/setup unpacks what it may not install."""


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Initialise a token with a P-256 key of id 7."""
    places = [Path("/usr/lib"), _CACHE / "debian" / "usr" / "lib"]
    library = next((str(path) for place in places for path in place.glob("**/softhsm/libsofthsm2.so")), "")
    assert library, "SoftHSM is not installed: scripts/setup test"
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path / 'tokens'}\nlog.level = ERROR\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    monkeypatch.setenv("PYKCS11LIB", library)
    tool = shutil.which("softhsm2-util") or shutil.which("softhsm2-util", path=str(_CACHE / "bin"))
    assert tool is not None
    subprocess.run(
        [tool, "--init-token", "--free", "--label", "shoal", "--pin", PIN, "--so-pin", "so-pin"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    _make_key(library)
    (tmp_path / "pin").write_text(PIN + "\n")
    monkeypatch.setenv("SHOAL_HSM_PIN_FILE", str(tmp_path / "pin"))
    return URL


def _make_key(library: str) -> None:
    import pkcs11
    from pkcs11.util.ec import encode_named_curve_parameters

    lib = pkcs11.lib(library)
    lib.reinitialize()
    with lib.get_token(token_label="shoal").open(rw=True, user_pin=PIN) as session:
        curve = {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
        parameters = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
        parameters.generate_keypair(store=True, id=b"\x07", label="timestamp")


@pytest.mark.slow
def test_a_token_s_keys_sign_online_and_offline_roles_and_devices_go_along(
    hub: "TrustedHub", token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = hub.device()
    device.refresh(hub.files())
    with hub.database.transaction() as session:
        assert hub.trust.rotate(session, Rotation(role="timestamp", signer=token))
        status = read_status(session, hub.trust, utc_now())
    (key,) = next(one.keys for one in status.roles if one.role == "timestamp")
    assert key.place == token
    hub.publish("digits", 1, b"{}")
    assert device.lists(hub.files(), manifest_target("digits", 1, sha256_hex(b"{}"))) is not None
    # An offline key in the token: the hub has attached it, somebody signs with the token at hand.
    with hub.database.transaction() as session:
        assert hub.trust.rotate(session, Rotation(role="root", signer=token))
    with hub.database.transaction() as session:
        repository = hub.trust.writing(session)
        staging = Staging(repository)
        with staging.edit_root():
            pass
        request = staging.request()
    signed, added = sign_request(request, [open_signer_url(token)])
    assert len(added) == 1
    with hub.database.transaction() as session:
        assert Staging(hub.trust.writing(session)).take(SigningRequest(current={}, staged=signed.staged))
        assert session.exec(select(StagedMetadata)).all() == []
    device.refresh(hub.files())
    monkeypatch.setenv("SHOAL_HSM_PIN_FILE", "/nowhere")
    with pytest.raises(SignerError, match="SHOAL_HSM_PIN_FILE"):
        hub.publish("digits", 2, b"{}")


@pytest.mark.slow
def test_a_ceremony_counts_a_token_s_key_once_and_makes_the_others_as_files(token: str, tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="two of the signers of root are one key"):
        make_ceremony(tmp_path / "new", TYPED, Plan(root_keys=2, urls=(("root", token), ("root", token))))
    places = make_ceremony(tmp_path / "new", TYPED, Plan(root_keys=2, urls=(("root", token),)))
    assert places[0] == token
    assert [Path(place).parent.name for place in places[1:]] == ["root-2", "targets-1", "code-1"]
