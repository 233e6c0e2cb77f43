"""The hub's CA by its fingerprint: fetched without trust, and kept only if it is the one that was named."""

import hashlib
import re
import ssl

import httpx

from shoal_client.errors import HubUnreachableError, ProfileError
from shoal_client.transport import API

_TIMEOUT_S = 15.0
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.{1,8192}?-----END CERTIFICATE-----\n?", re.DOTALL)


def ca_sha256(pem: str) -> str:
    """Return the fingerprint of a certificate: the SHA-256 of its DER form, 64 hexadecimal digits."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def fetch_ca(url: str, fingerprint: str) -> str:
    """Return that one of the hub's CA certificates (PEM) whose DER form has this SHA-256.

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
        pems: list[str] = _PEM.findall(response.text)
        found = {ca_sha256(pem): pem for pem in pems}
    except ValueError:
        found = {}
    if not found:
        raise ProfileError(f"asking {url} for its CA: it answered no certificate", "is this address a hub's?")
    wanted = fingerprint.lower().replace(":", "")
    if wanted not in found:
        shown = ", ".join(f"{one[:16]}…" for one in found)
        msg = f"checking the CA of {url}: fingerprint {shown} found, {wanted[:16]}… expected"
        raise ProfileError(msg, "this is another hub, or somebody is in between")
    return found[wanted]
