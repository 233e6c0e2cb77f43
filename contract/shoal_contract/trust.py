"""What TUF's roles and targets are called, and the list of metadata that stands at the broker.

Source: The Update Framework specification v1.0 (theupdateframework.github.io/specification). Root and targets are
signed offline. `targets` delegates `code` (offline), `models` (online), which delegates one role a model, and one role
`director-N` for each director key: it lists no target, its key alone is of interest.
"""

import re
from typing import Annotated, Final

from pydantic import Field

from shoal_contract.ids import Sha256
from shoal_contract.wire import WireMessage

MODELS_ROLE: Final = "models"
MODELS_PATHS: Final = "models/*/*"
CODE_ROLE: Final = "code"
CODE_PATHS: Final = "code/*"
CA_BUNDLE_TARGET: Final = "hub/ca.pem"
"""A target of the top-level role: every CA certificate (PEM) that a device may trust its hub by."""
MAX_CA_BUNDLE_BYTES: Final = 64 * 1024

_DIRECTOR_ROLE: Final = re.compile(r"director-([1-9][0-9]{0,17})")


class TrustIndex(WireMessage):
    """The payload of `trust/index`: the names `<version>.<role>` that stand, percent-encoded as in their topics."""

    names: tuple[Annotated[str, Field(max_length=320)], ...] = Field(max_length=16_384)


def model_role(model: str) -> str:
    """Return the role that lists the versions of `model`."""
    return f"{MODELS_ROLE}/{model}"


def model_paths(model: str) -> str:
    """Return the pattern of the target paths that a model's role may list."""
    return f"{MODELS_ROLE}/{model}/*"


def manifest_target(model: str, version: int, sha256: Sha256) -> str:
    """Return the target path of one manifest of a version; a manifest with another variant is another target."""
    return f"{MODELS_ROLE}/{model}/{version}-{sha256}.json"


def director_role(epoch: int) -> str:
    """Return the role, and key id in envelopes, of the director key of an epoch."""
    return f"director-{epoch}"


def director_paths(epoch: int) -> str:
    """Return the pattern of the target paths that a director's role could list; none is ever listed there."""
    return f"director/{epoch}/*"


def epoch_of(role: str) -> int | None:
    """Return the epoch of a director's role; None for the name of any other role."""
    match = _DIRECTOR_ROLE.fullmatch(role)
    return int(match[1]) if match else None
