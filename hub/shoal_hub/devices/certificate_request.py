"""Reads a device's certificate signing request (PKCS #10, RFC 2986) and refuses what the hub would not sign."""

from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shoal_hub.errors import InvalidInputError

_REMEDY: Final = "let shoal-agent make the request: a P-256 key, an empty subject and no extensions"
_MALFORMED: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    InvalidSignature,
    x509.DuplicateExtension,
    x509.InvalidVersion,
)


def read_certificate_request(pem: str) -> x509.CertificateSigningRequest:
    """Return a request that is for a P-256 key, signed by it, and asks for no name and no rights.

    Raises:
        InvalidInputError: It is malformed, or asks for something that only the hub gives.
    """
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        key = request.public_key()
        is_signed = request.is_signature_valid
        extensions = list(request.extensions)
    except _MALFORMED as error:
        raise InvalidInputError("reading the CSR: it is no PEM certificate signing request", _REMEDY) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InvalidInputError("reading the CSR: its key is not P-256", _REMEDY)
    if not is_signed:
        raise InvalidInputError("reading the CSR: its signature is not by its own key", _REMEDY)
    if request.subject.rdns:
        name = request.subject.rfc4514_string()[:100]
        raise InvalidInputError(
            f"reading the CSR: it asks for the name {name!r}, but the hub makes device ids", _REMEDY
        )
    if extensions:
        names = ", ".join(extension.oid._name for extension in extensions)  # noqa: SLF001 - its only readable name
        raise InvalidInputError(f"reading the CSR: it asks for extensions ({names}), which the hub decides", _REMEDY)
    return request


def key_fingerprint(request: x509.CertificateSigningRequest) -> str:
    """Return the SHA-256 of the request's public key (DER, SubjectPublicKeyInfo)."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(
        request.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return digest.finalize().hex()
