"""A file that travels as it is or as its ciphertext: what a variant and a delta have in common."""

from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.encryption import EncryptedFile, encrypted_size
from shoal_contract.ids import Sha256
from shoal_contract.limits import MAX_HTTPS_ARTIFACT_BYTES
from shoal_contract.wire import WireValue


class SealableFile(WireValue):
    """A file. Hash and size are the plain one's; of an encrypted one only `encrypted` travels and lies on disks."""

    sha256: Sha256
    size_bytes: int = Field(ge=1, le=MAX_HTTPS_ARTIFACT_BYTES)
    encrypted: EncryptedFile | None = None

    @model_validator(mode="after")
    def _check_encrypted_size(self) -> Self:
        if self.encrypted is not None and self.encrypted.size_bytes != encrypted_size(self.size_bytes):
            found, expected = self.encrypted.size_bytes, encrypted_size(self.size_bytes)
            msg = f"file {self.sha256[:12]}: a ciphertext of {found} bytes for {self.size_bytes}, expected {expected}"
            raise ValueError(msg)
        return self

    @property
    def travels_as(self) -> ArtifactRef:
        """The artifact that a device fetches and keeps: the ciphertext where there is one."""
        file = self.encrypted or self
        return ArtifactRef(sha256=file.sha256, size_bytes=file.size_bytes)
