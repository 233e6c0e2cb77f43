"""How a signed statement names an artifact."""

from pydantic import Field

from shoal_contract.ids import Sha256
from shoal_contract.limits import MAX_HTTPS_ARTIFACT_BYTES
from shoal_contract.wire import WireValue


class ArtifactRef(WireValue):
    """An artifact by its hash, with the size that the signer vouches for."""

    sha256: Sha256
    size_bytes: int = Field(ge=1, le=MAX_HTTPS_ARTIFACT_BYTES)
