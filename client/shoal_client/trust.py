"""The hub's CA by its fingerprint: fetched without trust, and kept only if it is the one that was named."""

import hashlib
import ssl

import httpx

from shoal_client.errors import HubUnreachableError, ProfileError
from shoal_client.transport import API

_TIMEOUT_S = 15.0


def fetch_ca(url: str, fingerprint: str) -> str:
    """Return the hub's CA certificate (PEM), checked against the SHA-256 of its DER form.

    Raises:
        HubUnreachableError: No hub answered.
        ProfileError: The hub has another CA, or none.
    """
    try:
        # Nothing secret is sent here, and what comes is checked by its hash.
        response = httpx.get(f"{url.rstrip('/')}{API}/ca.pem", verify=False, timeout=_TIMEOUT_S)  # noqa: S501
    except httpx.HTTPError as error:
        raise HubUnreachableError(
            f"asking {url} for its CA: {error}", "check the address and that the hub runs"
        ) from error
    try:
        found = hashlib.sha256(ssl.PEM_cert_to_DER_cert(response.text)).hexdigest()
    except ValueError as error:
        raise ProfileError(
            f"asking {url} for its CA: it answered no certificate", "is this address a hub's?"
        ) from error
    if found != fingerprint.lower().replace(":", ""):
        msg = f"checking the CA of {url}: fingerprint {found[:16]}… found, {fingerprint[:16]}… expected"
        raise ProfileError(msg, "this is another hub, or somebody is in between")
    return response.text
