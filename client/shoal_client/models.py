"""The registry's routes as methods: models, versions, bundles, artifacts."""

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from shoal_client.errors import ClientError
from shoal_client.registry import (
    ComplianceReport,
    Framework,
    Job,
    Model,
    ModelDetail,
    RolloutPolicy,
    Stage,
    StageChange,
    StageMoved,
    Statement,
    VersionCard,
    VersionDetail,
)
from shoal_client.transport import Transport

Progress = Callable[[int, int], None]
"""Called with bytes sent and bytes in all."""
_UPLOAD_TIMEOUT_S = 600.0


class Models:
    """Models and their versions."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def show(self, name: str) -> ModelDetail:
        """Return a model with its versions."""
        return self._transport.call("GET", f"/models/{name}", ModelDetail)

    def describe(self, name: str, description: str) -> ModelDetail:
        """Set a model's description."""
        return self._transport.call("PATCH", f"/models/{name}", ModelDetail, json={"description": description})

    def set_policy(self, name: str, policy: RolloutPolicy | None) -> ModelDetail:
        """Set the rollout that starts when a version becomes production; None for no rollout."""
        body = {"rollout_on_production": policy.model_dump() if policy else None}
        return self._transport.call("PATCH", f"/models/{name}", ModelDetail, json=body)

    def encrypt(self, name: str, number: int) -> VersionDetail:
        """Have a version leave the hub encrypted only."""
        return self._transport.call("POST", f"/models/{name}/versions/{number}/encrypt", VersionDetail)

    def encrypt_new_versions(self, name: str, *, is_on: bool) -> ModelDetail:
        """Have every version that is registered from now on encrypted, or not."""
        return self._transport.call("PATCH", f"/models/{name}", ModelDetail, json={"encrypt_versions": is_on})

    def manifest(self, name: str, ref: int | str) -> bytes:
        """Return a version's manifest, by number, `latest`, stage or alias, as JSON."""
        return self._transport.fetch("GET", f"/models/{name}/versions/{ref}/manifest")

    def version(self, name: str, ref: int | str) -> VersionDetail:
        """Return a version by number, `latest`, stage or alias."""
        return self._transport.call("GET", f"/models/{name}/versions/{ref}", VersionDetail)

    def register_bundle(
        self,
        folder: Path,
        progress: Progress | None = None,
        *,
        description: str = "",
        aliases: Sequence[str] = (),
        parent_version: int | None = None,
        federated_run: str | None = None,
        recipe: dict[str, str] | None = None,
        is_encrypted: bool = False,
    ) -> VersionDetail:
        """Register the next version of a model from a bundle folder.

        Raises:
            ClientError: The folder is no bundle.
            ApiError: The hub refused it.
        """
        request = {
            "description": description,
            "aliases": list(aliases),
            "parent_version": parent_version,
            "federated_run": federated_run,
            "recipe": recipe or {},
            "is_encrypted": is_encrypted,
        }
        paths, name = _bundle_paths(folder)
        total_bytes = sum(path.stat().st_size for path in paths)
        counter = _Counter(total_bytes, progress or (lambda _sent, _all: None))
        with ExitStack() as stack:
            files = [("files", (path.name, stack.enter_context(_CountedFile(path, counter)))) for path in paths]
            return self._transport.call(
                "POST",
                f"/models/{name}/versions",
                VersionDetail,
                data={"bundle": json.dumps(request)},
                files=files,
                timeout=_UPLOAD_TIMEOUT_S,
            )

    def move(self, name: str, number: int, stage: Stage, comment: str = "") -> StageMoved:
        """Move a version to a stage.

        Raises:
            ApprovalPendingError: The model's policy wants approvals for production first; it moves with the last one.
        """
        body = {"stage": stage, "comment": comment}
        return self._transport.propose("POST", f"/models/{name}/versions/{number}/stage", StageMoved, json=body)

    def set_alias(self, name: str, alias: str, number: int) -> VersionDetail:
        """Point an alias at a version."""
        return self._transport.call("PUT", f"/models/{name}/aliases/{alias}", VersionDetail, json={"number": number})

    def history(self, name: str, number: int) -> list[StageChange]:
        """Return a version's moves through the stages, oldest first."""
        return self._transport.call("GET", f"/models/{name}/versions/{number}/history", list[StageChange])

    def compress(self, name: str, number: int, techniques: Sequence[str] = ()) -> Job:
        """Start the job that makes variants of a version; without `techniques`, every one that the hub can make."""
        body: dict[str, Any] = {"techniques": list(techniques)}
        return self._transport.call("POST", f"/models/{name}/versions/{number}/compress", Job, json=body)

    def provenance(self, name: str, ref: int | str) -> Sequence[Statement]:
        """Return where a version and its variants come from, as signed in-toto statements."""
        return self._transport.call("GET", f"/models/{name}/versions/{ref}/provenance", tuple[Statement, ...])

    def bom(self, name: str, ref: int | str) -> dict[str, Any]:
        """Return a version's bill of materials (CycloneDX 1.6)."""
        return self._transport.call("GET", f"/models/{name}/versions/{ref}/bom", dict[str, Any])

    def card(self, name: str, ref: int | str) -> VersionCard:
        """Return a version's model card."""
        return self._transport.call("GET", f"/models/{name}/versions/{ref}/card", VersionCard)

    def card_page(self, name: str, ref: int | str) -> str:
        """Return a version's model card as Markdown."""
        return self._transport.fetch("GET", f"/models/{name}/versions/{ref}/card.md").decode()

    def compliance(self, name: str, ref: int | str, framework: Framework) -> ComplianceReport:
        """Return what is known of a version in the order of a framework's sections."""
        path = f"/models/{name}/versions/{ref}/compliance"
        return self._transport.call("GET", path, ComplianceReport, params={"framework": framework})

    def compliance_page(self, name: str, ref: int | str, framework: Framework) -> str:
        """Return the same as Markdown."""
        path = f"/models/{name}/versions/{ref}/compliance.md"
        return self._transport.fetch("GET", path, params={"framework": framework}).decode()

    def download_bundle(self, name: str, ref: int | str, root: Path) -> Path:
        """Write a version's files to a folder of its own below `root`; what lies there already is not fetched again.

        Raises:
            ApiError: There is no such version.
            ClientError: What came is not what its hash names.
        """
        version = self.version(name, ref)
        folder = root / f"{version.model}-{version.number}"
        folder.mkdir(parents=True, exist_ok=True)
        for file, sha256 in version.files.items():
            path = folder / Path(file).name
            if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
                self.download(sha256, path)
        return folder

    def download(self, sha256: str, path: Path) -> None:
        """Write an artifact to a file, which is there whole or is what it was before.

        Raises:
            ClientError: What came is not what the hash names, or stopped coming.
        """
        digest, beside = hashlib.sha256(), path.with_name(f"{path.name}.part")
        try:
            with self._transport.stream(f"/artifacts/{sha256}") as response, beside.open("wb") as file:
                for block in response.iter_bytes():
                    digest.update(block)
                    file.write(block)
            if digest.hexdigest() != sha256:
                msg = f"downloading {sha256}: what came has the hash {digest.hexdigest()}"
                raise ClientError(msg, "the hub's store is damaged: restore the file from a backup")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)

    def list(self) -> list[Model]:
        """List models by name."""
        return self._transport.call("GET", "/models", list[Model])


class _Counter:
    """Adds up what several files have sent."""

    def __init__(self, total_bytes: int, progress: Progress) -> None:
        self._total_bytes = total_bytes
        self._progress = progress
        self._sent_bytes = 0

    def add(self, count_bytes: int) -> None:
        """Take note of bytes that have been read to be sent."""
        self._sent_bytes += count_bytes
        self._progress(min(self._sent_bytes, self._total_bytes), self._total_bytes)


class _CountedFile(io.FileIO):
    """A file that tells a counter what was read of it."""

    def __init__(self, path: Path, counter: _Counter) -> None:
        super().__init__(path, "rb")
        self._counter = counter

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(-1 if size is None else size) or b""
        self._counter.add(len(data))
        return data


def _bundle_paths(folder: Path) -> tuple[list[Path], str]:
    try:
        description = json.loads((folder / "bundle.json").read_bytes())
        names = [*description["files"], "bundle.json"]
        paths = [folder / name for name in names]
        outside = [name for name in names if Path(name).name != name]
        missing = [path.name for path in paths if not path.is_file()]
        name = str(description["name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        msg = f"reading bundle.json in {folder}: {found}"
        raise ClientError(msg, "name a folder that the training wrote; it has a bundle.json") from error
    if outside:
        msg = f"reading the bundle {folder}: {outside[0]!r} is outside of it"
        raise ClientError(msg, "do not use this bundle: it would have sent another file of yours")
    if missing:
        raise ClientError(f"reading the bundle {folder}: {', '.join(missing)} is missing", "write the bundle again")
    return paths, name
