"""A small real TUF repository, as the hub keeps one: every role has a key of its own, and versions are times.

It publishes what a test wants published, right or wrong; `files` are what stands at the broker and over HTTPS.
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from shoal_contract import trust
from shoal_contract.ids import sha256_hex

TOP = ("root", "targets", "snapshot", "timestamp")


class TufRepository:
    """Roles, keys and metadata of one hub.

    Args:
        now: The hub's clock.
        lives: How long what is signed from now on holds.
    """

    def __init__(
        self,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
        lives: timedelta = timedelta(days=7),
    ) -> None:
        self.now = now
        self.lives = lives
        self.files: dict[str, bytes] = {}
        """By the names of `trust/index`; the timestamp as `timestamp`."""
        self.targets_files: dict[str, bytes] = {}
        """By path below the hub's targets: `hub/<sha256>.ca.pem`."""
        self.directors: dict[int, Ed25519PrivateKey] = {}
        self.signers: dict[str, list[CryptoSigner]] = {}
        self.signed: dict[str, Signed] = {}
        self._versions: dict[str, int] = {}
        root = Root(expires=self.expires(366))
        for role in TOP:
            self._add_signers(root, role)
        self.signed["root"] = root
        self.signed["targets"] = self._delegating(
            (trust.CODE_ROLE, trust.CODE_PATHS), (trust.MODELS_ROLE, trust.MODELS_PATHS)
        )
        self.signed["models"] = Targets(expires=self.expires(), delegations=Delegations({}, {}))
        self._sign("root")
        self.trust_root = self.files["1.root"]
        self.add_director(1, publishes=False)
        self._sign_targets("models")
        self.publish()

    @property
    def root(self) -> Root:
        root = self.signed["root"]
        assert isinstance(root, Root)
        return root

    @property
    def names(self) -> tuple[str, ...]:
        """What `trust/index` lists."""
        return tuple(name for name in self.files if name != "timestamp")

    def index(self) -> bytes:
        return trust.TrustIndex(names=self.names).to_bytes()

    def expires(self, days: float | None = None) -> datetime:
        return (self.now() + (self.lives if days is None else timedelta(days=days))).replace(microsecond=0)

    def publish(self) -> None:
        """Sign snapshot and timestamp for what the roles say now."""
        roles = [role for role in self.signed if role not in {"root", "snapshot", "timestamp"}]
        meta = {f"{role}.json": MetaFile(self.signed[role].version) for role in roles}
        self.signed["snapshot"] = Snapshot(version=self._next("snapshot"), expires=self.expires(), meta=meta)
        self._sign("snapshot")
        self.renew_timestamp()

    def renew(self) -> None:
        """Sign all that is below the root again, as a hub does before it expires."""
        for role in [role for role in self.signed if role not in {"root", "snapshot", "timestamp"}]:
            self._sign_targets(role)
        self.publish()

    def renew_timestamp(self, version: int | None = None) -> None:
        snapshot = self.signed["snapshot"].version
        version = version or self._next("timestamp")
        self.signed["timestamp"] = Timestamp(
            version=version, expires=self.expires(), snapshot_meta=MetaFile(version=snapshot)
        )
        self._sign("timestamp")

    def add_director(self, epoch: int, *, publishes: bool = True) -> Ed25519PrivateKey:
        """Let another director speak."""
        key = self.directors[epoch] = Ed25519PrivateKey.generate()
        self._delegate("targets", trust.director_role(epoch), trust.director_paths(epoch), CryptoSigner(key))
        self._sign_targets("targets", publishes=publishes)
        return key

    def remove_director(self, epoch: int) -> None:
        """Let a director speak no more."""
        delegations = self._targets("targets").delegations
        assert delegations is not None
        assert delegations.roles is not None
        del delegations.roles[trust.director_role(epoch)]
        self._sign_targets("targets", publishes=True)

    def list_manifest(self, model: str, version: int, data: bytes, *, listed: bytes | None = None) -> None:
        """Let the model's role list a manifest; `listed` is what it says that the bytes are."""
        role = trust.model_role(model)
        if role not in self.signed:
            self.signed[role] = Targets(expires=self.expires())
            self._delegate("models", role, trust.model_paths(model), CryptoSigner.generate_ed25519())
            self._sign_targets("models")
        path = trust.manifest_target(model, version, sha256_hex(data))
        if listed is None and path in self._targets(role).targets:
            return
        self._targets(role).targets[path] = TargetFile.from_data(path, listed or data, ["sha256"])
        self._sign_targets(role, publishes=True)

    def set_ca_bundle(self, pem: bytes) -> None:
        """Let the offline targets say by which CAs the hub is known."""
        target = TargetFile.from_data(trust.CA_BUNDLE_TARGET, pem, ["sha256"])
        self._targets("targets").targets[trust.CA_BUNDLE_TARGET] = target
        self.targets_files[f"hub/{sha256_hex(pem)}.ca.pem"] = pem
        self._sign_targets("targets", publishes=True)

    def rotate_root(self, roles: Sequence[str] = TOP, *, signs_with_old: bool = True, publishes: bool = True) -> None:
        """Make the next root, with new keys for `roles`, signed by the old root's keys and the new ones."""
        old, signers = self.root, list(self.signers["root"])
        root = Root.from_dict(old.to_dict())
        for role in roles:
            root.roles[role].keyids.clear()
            self._add_signers(root, role)
        root.version, root.expires = old.version + 1, self.expires(366)
        self.signed["root"] = root
        self._sign("root", (signers if signs_with_old else []) + self.signers["root"])
        if "targets" in roles:
            self._sign_targets("targets")
        if publishes:
            self.publish()

    def put(self, role: str, signed: Signed, signers: Sequence[CryptoSigner] | None = None) -> bytes:
        """Sign metadata and let it stand; return it."""
        metadata: Metadata[Any] = Metadata(signed)
        for signer in self.signers[role] if signers is None else signers:
            metadata.sign(signer, append=True)
        name = "timestamp" if role == "timestamp" else f"{signed.version}.{quote(role, safe='')}"
        self.files[name] = metadata.to_bytes()
        return self.files[name]

    def _sign(self, role: str, signers: Sequence[CryptoSigner] | None = None) -> None:
        self.put(role, self.signed[role], signers)

    def _sign_targets(self, role: str, *, publishes: bool = False) -> None:
        signed = self._targets(role)
        signed.version, signed.expires = self._next(role), self.expires()
        self._sign(role)
        if publishes:
            self.publish()

    def _targets(self, role: str) -> Targets:
        signed = self.signed[role]
        assert isinstance(signed, Targets)
        return signed

    def _delegating(self, *children: tuple[str, str]) -> Targets:
        self.signed["targets"] = Targets(expires=self.expires(), delegations=Delegations({}, {}))
        for role, pattern in children:
            self._delegate("targets", role, pattern, CryptoSigner.generate_ed25519())
        return self._targets("targets")

    def _delegate(self, parent: str, role: str, pattern: str, signer: CryptoSigner) -> None:
        delegations = self._targets(parent).delegations
        assert delegations is not None
        assert delegations.roles is not None
        self.signers[role] = [signer]
        delegations.keys[signer.public_key.keyid] = signer.public_key
        delegations.roles[role] = DelegatedRole(role, [signer.public_key.keyid], 1, terminating=False, paths=[pattern])

    def _add_signers(self, root: Root, role: str) -> None:
        self.signers[role] = [CryptoSigner.generate_ed25519() for _ in range(2 if role == "root" else 1)]
        for signer in self.signers[role]:
            root.add_key(signer.public_key, role)
        root.roles[role].threshold = len(self.signers[role])

    def _next(self, role: str) -> int:
        at_ms = int(self.now().timestamp() * 1000)
        self._versions[role] = max(self._versions.get(role, 0) + 1, at_ms)
        return self._versions[role]

    def wait_for_another_ms(self) -> None:
        """Let the next version be a later time, as it is whenever a person does something."""
        time.sleep(0.002)
