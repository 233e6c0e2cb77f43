"""What the names that a server was given stand for now, with the files that it takes, verified, in the store."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from logging import getLogger
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from shoal_agent.blobs import BlobStore
from shoal_agent.durable import replace_file
from shoal_agent.errors import AgentError, ArtifactError, HubUnreachableError
from shoal_agent.standalone.refs import ModelRef, choose_target
from shoal_agent.standalone.registry import HubRegistry
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredModel
from shoal_contract.errors import MessageError
from shoal_contract.ids import Name, sha256_hex
from shoal_contract.limits import MAX_MANIFEST_BYTES
from shoal_contract.manifest import VersionManifest
from shoal_contract.reported import Runtime
from shoal_contract.wire import parse_message

Versions = dict[Name, DesiredModel]
_VERSIONS: Final[TypeAdapter[Versions]] = TypeAdapter(Versions)
_log = getLogger(__name__)


@dataclass
class Catalogue:
    """Looks at the hub, and remembers on disk what has served, for a start without it. One thread at a time.

    Attributes:
        refs: What is to be served.
        registry: The hub.
        blobs: Takes the files.
        targets: Those of this machine, best first.
        runtimes: Those that are installed.
        note: The file of what served last.
        target: The one target to serve; empty: the best.
        wanted: What is to be served now, by model.
        proven: What every worker has served of that, at some time.
    """

    refs: Sequence[ModelRef]
    registry: HubRegistry
    blobs: BlobStore
    targets: Sequence[str]
    runtimes: Sequence[Runtime]
    note: Path
    target: str = ""
    wanted: Versions = field(default_factory=dict)
    proven: Versions = field(default_factory=dict)
    _told: dict[str, str] = field(default_factory=dict)
    _manifests: dict[str, str] = field(default_factory=dict)
    """Hash of the manifest that was last seen, by model, whether it is served or not."""

    def begin(self) -> None:
        """Find all that is to be served; what the hub can not be asked for now is what served last.

        Raises:
            AgentError: Something is not there.
        """
        remembered = self._remembered()
        for ref in self.refs:
            try:
                self._look(ref)
            except HubUnreachableError as error:
                last = remembered.get(ref.name)
                if last is None:
                    raise
                _log.warning("%s; serving what served last: %s version %d", error, ref.name, last.version)
                self.wanted[ref.name] = last

    def look(self) -> bool:
        """Look again; return whether something else is to be served now. What fails is told once, and stays."""
        before = dict(self.wanted)
        for ref in self.refs:
            try:
                self._look(ref)
                self._told.pop(ref.name, None)
            except AgentError as error:
                if self._told.get(ref.name) != str(error):
                    _log.error("looking for %s: %s; %s. What serves goes on", ref, error, error.remedy)
                self._told[ref.name] = str(error)
        return self.wanted != before

    def reject(self, name: str) -> None:
        """Go back to what has served, as what is wanted does not.

        Raises:
            ArtifactError: Nothing has yet.
        """
        if name not in self.proven:
            message = f"serving {name}: version {self.wanted[name].version} does not serve, and none has before"
            raise ArtifactError(message, "see the log above; register a version that passes its self-test")
        if self.wanted[name] == self.proven[name]:
            self._manifests.pop(name, None)  # its files are checked at the next look, in case that one is damaged
        self.wanted[name] = self.proven[name]

    def prove(self) -> None:
        """Note that all that is wanted serves; drop the files of what does not any more."""
        if self.proven == self.wanted:
            return
        self.proven = dict(self.wanted)
        try:
            replace_file(self.note, _VERSIONS.dump_json(self.proven))
            keep = {one.manifest.sha256 for one in self.proven.values()}
            keep |= {self._file_of(one) for one in self.proven.values()}
            self.blobs.collect(keep)
        except (OSError, AgentError) as error:  # it serves all the same
            _log.error("noting what serves: %s; free some disk space", error)

    def _look(self, ref: ModelRef) -> None:
        data = self.registry.manifest(ref, self._manifests.get(ref.name, ""))
        if data is None:
            return
        manifest = self._read(ref, data)
        variant = choose_target(manifest, wanted=self.target, targets=self.targets, runtimes=self.runtimes)
        named = ArtifactRef(sha256=sha256_hex(data), size_bytes=len(data))
        self._store(named, data)
        self._store(ArtifactRef(sha256=variant.sha256, size_bytes=variant.size_bytes), None)
        self.wanted[ref.name] = DesiredModel(
            version=manifest.version, target=variant.target, manifest=named, deployment=""
        )
        self._manifests[ref.name] = named.sha256
        _log.info("%s is version %d (%s)", ref, manifest.version, variant.target)

    def _read(self, ref: ModelRef, data: bytes) -> VersionManifest:
        try:
            manifest = parse_message(VersionManifest, data, MAX_MANIFEST_BYTES)
        except MessageError as error:
            raise ArtifactError(f"reading the manifest of {ref}: {error}") from error
        if manifest.model != ref.name:
            raise ArtifactError(f"reading the manifest of {ref}: it is of {manifest.model}")
        return manifest

    def _file_of(self, one: DesiredModel) -> str:
        """Return the hash of the file that serves."""
        data = self.blobs.read(one.manifest.sha256, MAX_MANIFEST_BYTES)
        return VersionManifest.model_validate_json(data).variant_for(one.target).sha256

    def _store(self, ref: ArtifactRef, data: bytes | None) -> None:
        """Have an artifact in the store, from these bytes or from the hub; one that is damaged comes again."""
        if self.blobs.has(ref.sha256):
            try:
                self.blobs.check(ref.sha256)
            except ArtifactError as error:
                _log.warning("%s", error)
            else:
                return
        self.blobs.put(ref, [data] if data is not None else self.registry.artifact(ref))

    def _remembered(self) -> Versions:
        """Return what served last, as far as its files are whole."""
        try:
            found = _VERSIONS.validate_json(self.note.read_bytes())
        except (OSError, ValidationError):
            return {}
        return {name: one for name, one in found.items() if self._is_whole(one)}

    def _is_whole(self, one: DesiredModel) -> bool:
        try:
            self.blobs.check(one.manifest.sha256)
            self.blobs.check(self._file_of(one))
        except (AgentError, MessageError, ValidationError):
            return False
        return True
