"""How much the registry takes of a bundle's files, as its settings say; passed to the process that looks into them."""

from pydantic import BaseModel, ConfigDict
from typing_extensions import Self

from shoal_contract.formats import FormatLimits
from shoal_contract.formats.limits import STANDARD_DOMAINS
from shoal_contract.limits import MAX_ARTIFACT_BYTES
from shoal_hub.settings import Settings

MAX_UNPACKED_BYTES = 2 * 2**30


class BundleLimits(BaseModel):
    """The bounds of one inspection."""

    model_config = ConfigDict(frozen=True)

    max_tensor_bytes: int = MAX_ARTIFACT_BYTES
    max_unpacked_bytes: int = MAX_UNPACKED_BYTES
    """What the members of one archive may unpack to together."""
    onnx_domains: frozenset[str] = STANDARD_DOMAINS
    litert_custom_ops: frozenset[str] = frozenset()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return what the hub's settings allow."""
        return cls(
            max_tensor_bytes=settings.max_tensor_bytes,
            max_unpacked_bytes=settings.max_unpacked_bytes,
            onnx_domains=STANDARD_DOMAINS | _names(settings.onnx_domains),
            litert_custom_ops=_names(settings.litert_custom_ops),
        )

    @property
    def formats(self) -> FormatLimits:
        """The part that concerns device files."""
        return FormatLimits(self.max_tensor_bytes, self.onnx_domains, self.litert_custom_ops)


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(",") if name.strip())
