"""Trust at the API: public metadata as a TUF client fetches it, and the operators' side."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from tests.hub.devices.requests_of import ask, new_token
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata
from tuf.ngclient import FetcherInterface, Updater

from shoal_contract.enrolment import EnrolmentResponse
from shoal_contract.ids import sha256_hex
from shoal_contract.trust import CA_BUNDLE_TARGET, manifest_target
from shoal_hub.context import HubContext

URL = "/api/v1/trust"
MANIFEST = b'{"version": 1}'
PATH = manifest_target("digits", 1, sha256_hex(MANIFEST))


class _Fetcher(FetcherInterface):
    """Fetches from the application, without a token."""

    def __init__(self, stranger: TestClient) -> None:
        self._stranger = stranger

    def _fetch(self, url: str) -> Iterator[bytes]:
        answer = self._stranger.get(urlsplit(url).path)
        if answer.status_code != 200:
            raise DownloadHTTPError(answer.text, answer.status_code)
        yield answer.content


def test_a_tuf_client_verifies_models_and_the_ca_over_https_without_a_token(
    sqlite_hub: HubContext, stranger: TestClient, tmp_path: Path
) -> None:
    with sqlite_hub.database.transaction() as session:
        sqlite_hub.trust.writing(session).list_manifest("digits", 1, MANIFEST)
    with sqlite_hub.database.session() as session:
        root = sqlite_hub.trust.root_text(session).encode()
    for name in ("metadata", "targets"):
        (tmp_path / name).mkdir()
    updater = Updater(
        str(tmp_path / "metadata"),
        f"http://hub.test{URL}/metadata/",
        str(tmp_path / "targets"),
        f"http://hub.test{URL}/targets/",
        _Fetcher(stranger),
        bootstrap=root,
    )
    assert updater.get_targetinfo(PATH) is not None
    bundle = updater.get_targetinfo(CA_BUNDLE_TARGET)
    assert bundle is not None
    assert Path(updater.download_target(bundle)).read_text() == sqlite_hub.authority.certificate_pem


@pytest.mark.parametrize(
    "path",
    [
        "metadata/9.root.json",
        "metadata/root.json",
        "metadata/1.root",
        "metadata/-1.root.json",
        "metadata/99999999999999999999.root.json",
        f"metadata/{'0' * 20}{'9' * 25}.root.json",
        "metadata/01.root.json",
        "metadata/\u00b2.root.json",
        "metadata/1.%00.json",
        "metadata/1.%2500.json",
        "metadata/..%2F..%2Fhub.sqlite",
        "targets/hub/ca.pem",
        "targets/hub/0.ca.pem",
        "targets/%00",
    ],
)
@pytest.mark.usefixtures("sqlite_hub")
def test_what_is_not_there_is_a_404_in_the_api_s_form(stranger: TestClient, path: str) -> None:
    answer = stranger.get(f"{URL}/{path}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("POST", "/rotations"), ("GET", "/staged"), ("POST", "/staged"), ("DELETE", "/staged")],
)
def test_the_operators_side_takes_a_token(stranger: TestClient, method: str, path: str) -> None:
    assert stranger.request(method, f"{URL}{path}", json={}).status_code == 401


def test_a_rotation_over_the_api_is_in_force_at_once_and_shown(client: TestClient, hub: HubContext) -> None:
    with hub.database.transaction() as session:
        hub.trust.writing(session)
    before = client.get(URL).json()
    assert before["director_epoch"] == 1
    assert any("lie on the hub" in warning for warning in before["warnings"])
    after = client.post(f"{URL}/rotations", json={"role": "director"}).json()
    assert (after["director_epoch"], after["staged"], hub.director.epoch) == (2, [], 2)
    assert client.get(f"{URL}/staged").status_code == 409
    assert client.post(f"{URL}/staged", json={"current": {}, "staged": {}}).status_code == 409
    assert client.post(f"{URL}/rotations", json={"role": "nothing"}).status_code == 404
    assert client.post(f"{URL}/rotations", json={"role": "root", "root": "{}", "targets": "{}"}).status_code == 422
    kinds = [event["kind"] for event in client.get("/api/v1/events").json()]
    assert "trust_rotated" in kinds


def test_enrolment_gives_the_newest_root_and_where_the_api_is(client: TestClient) -> None:
    client.post(f"{URL}/rotations", json={"role": "root"})
    client.post(f"{URL}/rotations", json={"role": "director"})
    answer = EnrolmentResponse.model_validate_json(ask(client, new_token(client)).content)
    root = Metadata.from_bytes(answer.trust_root.encode())
    assert (root.signed.type, root.signed.version) == ("root", 2)
    assert answer.api_url == "https://hub.test:8443"
