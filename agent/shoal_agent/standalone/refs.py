"""Which versions are to be served, as people name them, and which of a version's variants runs here. Pure."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from shoal_agent.errors import AgentError, ArtifactError
from shoal_contract.ids import NAME_PATTERN
from shoal_contract.manifest import Variant, VersionManifest
from shoal_contract.reported import Runtime

_REF: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_EXAMPLE: Final = "name it as MODEL, MODEL@latest, MODEL@3, MODEL@production or MODEL@ALIAS"


class ModelRef(NamedTuple):
    """A model and which of its versions: a number, `latest`, a stage or an alias."""

    name: str
    ref: str

    def __str__(self) -> str:
        return f"{self.name}@{self.ref}"


def parse_refs(texts: Sequence[str]) -> tuple[ModelRef, ...]:
    """Return what is to be served.

    Raises:
        AgentError: One is no name of a version, or names a model again.
    """
    found: dict[str, ModelRef] = {}
    for text in texts:
        name, _, ref = text.partition("@")
        if re.fullmatch(NAME_PATTERN, name) is None or (ref and _REF.fullmatch(ref) is None):
            raise AgentError(f"choosing what to serve: {text[:80]!r} names no version", _EXAMPLE)
        if name in found:
            message = f"choosing what to serve: model {name} is named twice; one version of a model is served at a time"
            raise AgentError(message, "name it once, or start a second server on another port")
        found[name] = ModelRef(name, ref or "latest")
    return tuple(found.values())


def choose_target(
    manifest: VersionManifest, *, wanted: str = "", targets: Sequence[str], runtimes: Sequence[Runtime]
) -> Variant:
    """Return the variant that runs here.

    Args:
        manifest: Of the version.
        wanted: The target that was asked for; empty: the best of `targets`, else any whose runtime is installed.
        targets: Those of this machine, best first.
        runtimes: Those that are installed and work.

    Raises:
        ArtifactError: The version has no such variant.
    """
    usable = {one.target: one for one in manifest.variants if one.runtime in runtimes}
    order = (wanted,) if wanted else (*targets, *sorted(usable))
    variant = next((usable[target] for target in order if target in usable), None)
    doing = f"choosing a variant of {manifest.model} version {manifest.version}"
    if variant is None:
        there = ", ".join(f"{one.target} ({one.runtime})" for one in manifest.variants)
        installed = ", ".join(runtimes) or "none"
        message = f"{doing}: {there} found, {wanted or 'one for an installed runtime'} expected; installed: {installed}"
        raise ArtifactError(message, "compress the version for that target, or install the runtime: shoal[onnx,litert]")
    if variant.encrypted is not None:
        message = f"{doing}: it is encrypted, and its key is given to devices alone"
        raise ArtifactError(message, "serve a version that is not encrypted")
    return variant
