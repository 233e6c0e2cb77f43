"""What can go wrong with keys and certificates."""

from shoal_hub.errors import HubError


class TrustError(HubError):
    """A key or certificate file is missing, damaged or open to others."""

    code = "trust"


class CertificateRequestError(TrustError):
    """A certificate signing request is not one that the hub signs."""

    status = 422
    code = "certificate_request"


class SignerError(TrustError):
    """A signing key behind a URL does not answer, or a role has no key here that signs."""

    status = 409
    code = "signer"


class MetadataError(TrustError):
    """TUF metadata that was handed in is malformed, not signed as it must be, or not what was staged."""

    status = 422
    code = "metadata"
