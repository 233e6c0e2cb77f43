"""The hub's registry as a server beside it reads it: manifests and files, over HTTPS with an operator's token."""

import http.client
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from shoal_agent.errors import ArtifactError, HubError, HubUnreachableError
from shoal_agent.hub_api import API, DEFAULT_PORT, MAX_ANSWER_BYTES, Answer, refusal
from shoal_agent.standalone.refs import ModelRef
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.ids import DeviceId
from shoal_contract.limits import MAX_MANIFEST_BYTES

TIMEOUT_S: Final = 20.0
"""How long the hub may stay silent, in an answer or before it."""
_BLOCK_BYTES: Final = 1024 * 1024
_MAX_ERROR_BYTES: Final = 64 * 1024


class _Site(BaseModel):
    """What the hub says of a site, as far as a server needs it."""

    model_config = ConfigDict(extra="ignore")

    cache: DeviceId
    has_cache: bool
    members: tuple[DeviceId, ...]

    def devices(self) -> tuple[str, ...]:
        """Return all of its devices."""
        return (*self.members, self.cache) if self.has_cache else self.members


class HubRegistry:
    """Asks one hub; each request on a connection of its own. May be used by several threads.

    Args:
        url: The hub's address.
        token: An operator's, of whatever role.
        context: Whom to trust.

    Raises:
        HubError: The address or the token is none.
    """

    def __init__(self, url: str, token: str, context: ssl.SSLContext) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or DEFAULT_PORT
        except ValueError:
            host = None
        if not host or parts.scheme != "https":
            message = f"asking the hub at {url!r}: an address like https://hub.example:8443 was expected"
            raise HubError(message, "log in to a hub: shoal login")
        if re.fullmatch(r"[!-~]+", token) is None:
            message = f"asking the hub at {url}: the operator's token is empty, or holds what no token does"
            raise HubError(message, "make one: shoal operator-tokens create")
        self._url, self._host, self._port = url, host, port
        self._token, self._context = token, context

    def manifest(self, ref: ModelRef, known_sha256: str = "") -> bytes | None:
        """Return the manifest of the version that is meant now; None where that is the known one.

        Raises:
            HubError: The hub refuses; a HubUnreachableError where it does not answer.
        """
        path = f"/models/{ref.name}/versions/{ref.ref}/manifest"
        with self._get(path, {"If-None-Match": f'"{known_sha256}"'} if known_sha256 else {}) as response:
            if response.status == http.client.NOT_MODIFIED and known_sha256:
                return None
            data = response.read(MAX_MANIFEST_BYTES + 1)
        if response.status != http.client.OK:
            raise refusal(self._url, Answer(response.status, data[:_MAX_ERROR_BYTES], None))
        return data

    def artifact(self, wanted: ArtifactRef) -> Iterator[bytes]:
        """Yield the bytes of a file; whoever takes them checks their hash.

        Raises:
            ArtifactError: It is longer than it should be.
            HubError: The hub refuses; a HubUnreachableError where it does not answer.
        """
        with self._get(f"/artifacts/{wanted.sha256}", {}) as response:
            if response.status != http.client.OK:
                raise refusal(self._url, Answer(response.status, response.read(_MAX_ERROR_BYTES), None))
            left_bytes = wanted.size_bytes
            while block := response.read(_BLOCK_BYTES):
                left_bytes -= len(block)
                if left_bytes < 0:
                    message = f"fetching {wanted.sha256[:12]}: more than its {wanted.size_bytes} bytes came"
                    raise ArtifactError(message, "check the hub's artifact store")
                yield block

    def devices_of(self, site: str) -> tuple[str, ...]:
        """Return the devices of a site.

        Raises:
            HubError: The hub refuses, or answers with something else; a HubUnreachableError where it does not answer.
        """
        try:
            return _Site.model_validate_json(self._read(f"/sites/{site}")).devices()
        except ValidationError as error:
            raise HubError(f"asking the hub at {self._url} for site {site}: {str(error)[:200]}") from error

    def device_ca(self) -> bytes:
        """Return the CA certificates of the hub's devices, as PEM.

        Raises:
            HubError: The hub refuses; a HubUnreachableError where it does not answer.
        """
        return self._read("/ca.pem")

    def _read(self, path: str) -> bytes:
        with self._get(path, {}) as response:
            data = response.read(MAX_ANSWER_BYTES)
        if response.status != http.client.OK:
            raise refusal(self._url, Answer(response.status, data[:_MAX_ERROR_BYTES], None))
        return data

    @contextmanager
    def _get(self, path: str, headers: dict[str, str]) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_S, context=self._context)
        try:
            connection.request("GET", API + path, headers={"Authorization": f"Bearer {self._token}", **headers})
            yield connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            message = f"asking the hub at {self._url}: {error}"
            raise HubUnreachableError(message, "check the hub's address, its port and the network") from error
        finally:
            connection.close()
