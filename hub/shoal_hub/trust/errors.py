"""What can go wrong with keys and certificates."""

from shoal_hub.errors import HubError


class TrustError(HubError):
    """A key or certificate file is missing, damaged or open to others."""

    code = "trust"


class CertificateRequestError(TrustError):
    """A certificate signing request is not one that the hub signs."""

    status = 422
    code = "certificate_request"
