"""Which version of a model serves: the roles of `models/<name>/state.json`, the only truth, and its transitions.

The transitions are pure; `SlotFile` makes each of them durable by one rename, and that rename is the activation.
"""

from collections.abc import Mapping
from logging import getLogger
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from shoal_agent.durable import replace_file, sync_folder
from shoal_agent.errors import DiskError
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredModel
from shoal_contract.encryption import EncryptedFile, WrappedKey
from shoal_contract.ids import Name, Sha256
from shoal_contract.manifest import Variant
from shoal_contract.reported import ModelReport, Problem, SlotReport
from shoal_contract.update_policy import FailureKind, UpdatePolicy

_log = getLogger(__name__)
MAX_FAILURES: Final = 8
"""Failed deployments that a model's file remembers."""


class Slot(BaseModel):
    """One version in a role. `order` is the (epoch, generation) that asked for it."""

    model_config = ConfigDict(frozen=True)

    version: int
    target: Name
    sha256: Sha256
    size_bytes: int
    manifest: ArtifactRef
    deployment: str
    order: tuple[int, int]
    state: Literal["good", "bad", "unproven"] = "unproven"
    boots: int = 0
    """Starts of the agent that found this version unproven: as many times the agent ended while it was tried."""
    encrypted: EncryptedFile | None = None
    key: WrappedKey | None = None
    """Of an encrypted version: the only form in which its key lies on this disk."""
    is_ready: bool = False
    """Of a candidate: it has been loaded and has passed its self-test here, and waits."""
    policy: UpdatePolicy | None = None
    """What its deployment asks of this device: a start without the hub goes by it, too."""

    @property
    def file_sha256(self) -> str:
        """Hash of the file in the store: the ciphertext's where the version is encrypted."""
        return self.encrypted.sha256 if self.encrypted else self.sha256

    def is_same_file(self, other: "Slot") -> bool:
        """Whether both are the same version from the same file."""
        return (self.version, self.sha256, self.manifest) == (other.version, other.sha256, other.manifest)

    def is_what(self, wanted: DesiredModel) -> bool:
        """Whether it is the version and variant that the hub asks for."""
        return (self.version, self.target, self.manifest) == (wanted.version, wanted.target, wanted.manifest)

    def to_report(self) -> SlotReport:
        """Return the slot as the hub sees it."""
        return SlotReport(version=self.version, target=self.target, sha256=self.sha256, state=self.state)


class Failure(BaseModel):
    """The deployment that failed last; it is not tried again until the hub asks with another one."""

    model_config = ConfigDict(frozen=True)

    deployment: str
    version: int
    problem: Problem
    manifest: Sha256 | None = None
    """Of the version that failed; the same deployment with another one is tried."""
    slot: SlotReport | None = None
    """The version that failed, as the hub sees it: bad. Its file is kept no longer."""
    is_rolled_back: bool = False
    """Whether it had served."""

    def forbids(self, wanted: DesiredModel) -> bool:
        """Whether this is what failed: it is not tried again until it has changed."""
        is_same_manifest = self.manifest is None or self.manifest == wanted.manifest.sha256
        return self.deployment == wanted.deployment and is_same_manifest


class Tries(BaseModel):
    """How often an attempt of one deployment has failed, by kind."""

    model_config = ConfigDict(frozen=True)

    deployment: str
    failures: dict[FailureKind, int]


class Slots(BaseModel):
    """All roles of one model."""

    model_config = ConfigDict(frozen=True)

    active: Slot | None = None
    previous: Slot | None = None
    candidate: Slot | None = None
    failure: Failure | None = None
    tries: Tries | None = None
    past: tuple[Failure, ...] = ()
    """The latest failures: a wish that comes back, after a pin or another rollout, is not tried again either."""

    def forbidding(self, wanted: DesiredModel) -> Failure | None:
        """Return the failure because of which a wish is not tried again; None if it may be."""
        latest = (self.failure,) if self.failure is not None else ()
        return next((one for one in (*latest, *reversed(self.past)) if one.forbids(wanted)), None)

    def staged(self, candidate: Slot) -> "Slots":
        """Hold a verified version ready; what serves does not change. A repeated attempt keeps its count of starts."""
        before = self.candidate
        boots = before.boots if before is not None and before.deployment == candidate.deployment else 0
        return self.model_copy(update={"candidate": candidate.model_copy(update={"boots": boots})})

    def readied(self) -> "Slots":
        """The candidate has been loaded and has passed its self-test; starts while it waits are not held against it."""
        if self.candidate is None:
            raise DiskError("keeping a version ready: no candidate is staged")
        return self.model_copy(update={"candidate": self.candidate.model_copy(update={"is_ready": True, "boots": 0})})

    def activated(self) -> "Slots":
        """Let the candidate serve, still unproven. The last good version stays as `previous`."""
        if self.candidate is None:
            raise DiskError("activating a version: no candidate is staged")
        keep = self.previous
        if self.active is not None and self.active.state == "good":
            # A version that is activated again, because its file was damaged, must not push its predecessor out.
            is_again = self.active.is_same_file(self.candidate)
            keep = self.previous if is_again and self.previous is not None else self.active
        active = self.candidate.model_copy(update={"is_ready": False})
        return Slots(active=active, previous=keep, tries=self.tries, past=self.past)

    def committed(self) -> "Slots":
        """The active version has proved itself."""
        if self.active is None:
            raise DiskError("committing a version: none is active")
        active = self.active.model_copy(update={"state": "good", "boots": 0})
        tries = self.tries if self.tries is not None and self.tries.deployment != active.deployment else None
        return self.model_copy(update={"active": active, "tries": tries})

    def proved(self, deployment: str, order: tuple[int, int]) -> "Slots":
        """The active version is what another deployment asks for, too."""
        if self.active is None:
            raise DiskError("confirming a version: none is active")
        active = self.active.model_copy(update={"deployment": deployment, "order": order})
        return Slots(active=active, previous=self.previous, past=self.past)

    def booted(self) -> "Slots":
        """Count one more start with a version that was being tried when the agent ended."""
        counted = {
            role: slot.model_copy(update={"boots": slot.boots + 1})
            for role, slot in (("active", self.active), ("candidate", self.candidate))
            if slot is not None and slot.state == "unproven" and not slot.is_ready
        }
        return self.model_copy(update=counted)

    def fell_back(self) -> "Slots":
        """The active version can not be served from this disk: the previous one is active again."""
        if self.previous is None:
            raise DiskError("going back to the previous version: there is none")
        return self.model_copy(update={"active": self.previous, "previous": None})

    def failed(self, failure: Failure) -> "Slots":
        """Note a failure: a candidate is dropped; if what failed serves unproven, the last good version is back."""
        active = self.active
        if active is not None and active.state == "unproven" and active.deployment == failure.deployment:
            return self._after(failure.model_copy(update={"is_rolled_back": True}), self.previous, None)
        return self._after(failure, active, self.previous)

    def withdrawn(self, problem: Problem) -> "Slots":
        """The active version has turned out bad after it was committed: the one before is active again."""
        if self.active is None or self.previous is None:
            raise DiskError("taking the active version back: there is none to go back to")
        failure = failure_of(self.active, problem).model_copy(update={"is_rolled_back": True})
        return self._after(failure, self.previous, None)

    def retreated(self) -> "Slots":
        """An unproven active version gives way to the one before, and is a candidate for another try."""
        if self.active is None or self.active.state != "unproven":
            return self
        candidate = self.active.model_copy(update={"is_ready": True})
        return Slots(active=self.previous, candidate=candidate, tries=self.tries, past=self.past)

    def asked(self, wanted: DesiredModel, order: tuple[int, int]) -> "Slots":
        """What is being tried, or waits, is what another deployment asks for, too."""
        new = {"deployment": wanted.deployment, "order": order, "policy": wanted.policy}
        roles = {"active": self.active, "candidate": self.candidate}
        found = {
            role: slot.model_copy(update=new)
            for role, slot in roles.items()
            if slot is not None and slot.state == "unproven" and slot.is_what(wanted)
        }
        return self.model_copy(update=found)

    def gave_way(self) -> "Slots":
        """An unproven active version that nobody asks for any more gives way to the last good one."""
        if self.active is None or self.active.state != "unproven" or self.previous is None:
            return self
        return Slots(active=self.previous, past=self.past)

    def counted(self, deployment: str, kind: FailureKind) -> "Slots":
        """Count one more failure of a deployment; those of another one are forgotten."""
        known = self.tries.failures if self.tries is not None and self.tries.deployment == deployment else {}
        failures = {**known, kind: known.get(kind, 0) + 1}
        return self.model_copy(update={"tries": Tries(deployment=deployment, failures=failures)})

    def _after(self, failure: Failure, active: Slot | None, previous: Slot | None) -> "Slots":
        past = (*self.past, failure)[-MAX_FAILURES:]
        return Slots(active=active, previous=previous, failure=failure, past=past)

    def held(self) -> list[Slot]:
        """Return the versions in the roles."""
        return [slot for slot in (self.active, self.previous, self.candidate) if slot is not None]

    def bases(self) -> list[Slot]:
        """Return the versions that a delta may go from, the one that serves last."""
        return [slot for slot in (self.previous, self.active) if slot is not None]

    def with_keys(self, keys: Mapping[int, WrappedKey]) -> "Slots":
        """Take over other wrappings of the keys of encrypted versions, by version."""

        def over(slot: Slot | None) -> Slot | None:
            if slot is None or slot.key is None:
                return slot
            return slot.model_copy(update={"key": keys.get(slot.version, slot.key)})

        roles = {"active": over(self.active), "previous": over(self.previous), "candidate": over(self.candidate)}
        return self.model_copy(update=roles)

    def is_empty(self) -> bool:
        """Whether no version is in any role and no failure is noted."""
        return self == Slots()

    def artifacts(self) -> set[str]:
        """Hashes of all files that the roles need."""
        return {slot.file_sha256 for slot in self.held()} | {slot.manifest.sha256 for slot in self.held()}

    def to_report(self) -> ModelReport:
        """Return the roles as the hub sees them."""
        return ModelReport(
            active=self.active.to_report() if self.active else None,
            previous=self.previous.to_report() if self.previous else None,
            candidate=self._reported_candidate(),
        )

    def _reported_candidate(self) -> SlotReport | None:
        """Return the candidate; where there is none, the version that failed last, which is bad."""
        if self.candidate is not None:
            return self.candidate.to_report()
        return self.failure.slot if self.failure is not None else None


def slot_for(variant: Variant, wanted: DesiredModel, order: tuple[int, int]) -> Slot:
    """Make the slot of a verified variant."""
    return Slot(
        version=wanted.version,
        target=variant.target,
        sha256=variant.sha256,
        size_bytes=variant.size_bytes,
        manifest=wanted.manifest,
        deployment=wanted.deployment,
        order=order,
        encrypted=variant.encrypted,
        key=wanted.key if variant.encrypted else None,
        policy=wanted.policy,
    )


def failure_of(slot: Slot, problem: Problem) -> Failure:
    """Make the note of a version that failed from its slot."""
    bad = slot.to_report().model_copy(update={"state": "bad"})
    return Failure(
        deployment=slot.deployment, version=slot.version, problem=problem, manifest=slot.manifest.sha256, slot=bad
    )


def failure_to_get(wanted: DesiredModel, problem: Problem) -> Failure:
    """Make the note of a version that failed before it was staged."""
    return Failure(
        deployment=wanted.deployment, version=wanted.version, problem=problem, manifest=wanted.manifest.sha256
    )


class SlotFile:
    """`<data>/models/<name>/state.json`."""

    def __init__(self, models_dir: Path, name: str) -> None:
        self._path = models_dir / name / "state.json"
        self.slots = self._read()

    def put(self, slots: Slots) -> Slots:
        """Make a transition durable; one that changes nothing writes nothing, as the disk may be full.

        Raises:
            DiskError: The file could not be written; the old roles stay.
        """
        if slots == self.slots:
            return slots
        try:
            replace_file(self._path, slots.model_dump_json(exclude_none=True).encode())
        except OSError as error:
            raise DiskError(f"writing {self._path}: {error}", "free some disk space") from error
        self.slots = slots
        return slots

    def forget(self) -> None:
        """Drop all roles and the file: the hub no longer wants this model here.

        Raises:
            DiskError: The file could not be deleted.
        """
        try:
            self._path.unlink(missing_ok=True)
            if self._path.parent.exists():
                sync_folder(self._path.parent)
        except OSError as error:
            raise DiskError(f"deleting {self._path}: {error}") from error
        self.slots = Slots()

    def _read(self) -> Slots:
        if not self._path.exists():
            return Slots()
        try:
            return Slots.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError) as error:
            message = f"reading {self._path}: {error}"
            raise DiskError(message, "the agent puts it aside at its next start and fetches the model again") from error


def put_aside(models_dir: Path, name: str) -> Path:
    """Move a damaged `state.json` out of the way, where a person still finds it; return its new place."""
    path = models_dir / name / "state.json"
    return path.replace(path.with_name("state.json.damaged"))


def open_slot_file(models_dir: Path, name: str) -> SlotFile:
    """Open a model's roles; a damaged file is put aside and the model begun anew."""
    try:
        return SlotFile(models_dir, name)
    except DiskError as error:
        _log.error("%s; kept as %s", error, put_aside(models_dir, name))
        return SlotFile(models_dir, name)


def known_models(models_dir: Path) -> list[str]:
    """Names of the models that have roles on this device."""
    return sorted(path.parent.name for path in models_dir.glob("*/state.json"))
