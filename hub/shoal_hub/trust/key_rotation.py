"""Gives roles new keys: the first ones of a hub, and every later one.

Online keys are made here, or attached by a signer's URL; offline roles take theirs from a ceremony (`offline.py`), or
get new ones on the hub as long as they lie there.
"""

from collections.abc import Sequence

from securesystemslib.signer import Key, SSlibKey
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import DelegatedRole, Delegations, Role, Root, Targets

from shoal_client.tuf import Rotation
from shoal_contract.trust import (
    CODE_PATHS,
    CODE_ROLE,
    MODELS_PATHS,
    MODELS_ROLE,
    director_paths,
    director_role,
    epoch_of,
)
from shoal_hub.errors import ConflictError, NotFoundError
from shoal_hub.trust.director import director_epochs, read_director_public_key
from shoal_hub.trust.errors import MetadataError, SignerError
from shoal_hub.trust.keystore import Keystore
from shoal_hub.trust.repository import TrustRepository, newest_epoch
from shoal_hub.trust.roles import OFFLINE, ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from shoal_hub.trust.signing import AnyMetadata, parse_metadata
from shoal_hub.trust.staging import Staging

ALL_OFFLINE = "offline"
DIRECTOR = "director"


class Rotator:
    """Rotates keys of one repository, within its transaction.

    Args:
        repository: Edits metadata.
        keys: The hub's named keys, for the director's.
    """

    def __init__(self, repository: TrustRepository, keys: Keystore) -> None:
        self._repository = repository
        self._staging = Staging(repository)
        self._keys = keys

    def begin(self) -> None:
        """Make the first keys and metadata; the offline ones lie on the hub until a ceremony replaces them."""
        offline, online = self._repository.offline, self._repository.online
        with self._staging.edit_root() as root:
            for role in (ROOT, TARGETS):
                root.add_key(offline.make(), role)
            for role in (SNAPSHOT, TIMESTAMP):
                root.add_key(online.make(), role)
        with self._staging.edit_targets() as targets:
            targets.delegations = Delegations({}, {})
            _delegate(targets, CODE_ROLE, [CODE_PATHS], [offline.make()])
            _delegate(targets, MODELS_ROLE, [MODELS_PATHS], [online.make()])
            self._name_director(targets, min(director_epochs(self._keys), default=1))
        with self._staging.edit_targets(CODE_ROLE):
            pass
        self._staging.settle()

    def rotate(self, rotation: Rotation) -> bool:
        """Give a role new keys; return whether that is in force already.

        Raises:
            NotFoundError: There is no such role.
            ConflictError: The role's keys are kept offline, so new ones come from a ceremony.
            SignerError: The signer's URL does not answer, or the role takes none.
            MetadataError: The ceremony's files do not hold.
        """
        role = rotation.role
        if role == DIRECTOR:
            self._rotate_director(rotation)
        elif role in {*OFFLINE, ALL_OFFLINE}:
            self._rotate_offline(role, rotation)
        elif role in {SNAPSHOT, TIMESTAMP}:
            key = self._next_key(rotation)
            with self._staging.edit_root() as root:
                _replace(root, role, [key])
        elif role == MODELS_ROLE:
            key = self._next_key(rotation)
            with self._staging.edit_targets() as targets:
                _replace(targets, role, [key])
        else:
            return self._rotate_model(role, rotation)
        return self._staging.settle()

    def _rotate_model(self, role: str, rotation: Rotation) -> bool:
        if role not in self._repository.online_targets():
            known = ", ".join(
                ["root, targets, code, offline (all three), snapshot, timestamp, models, director", *self._models()]
            )
            raise NotFoundError(f"rotating {role!r}: there is no such role", f"the roles are {known}")
        key = self._next_key(rotation)
        with self._repository.keeping_sound():
            with self._repository.edit_targets(MODELS_ROLE) as models:
                _replace(models, role, [key])
            return self._repository.renew()

    def _rotate_director(self, rotation: Rotation) -> None:
        if rotation.signer:
            raise SignerError(
                "rotating the director: it takes no signer's URL, since devices check Ed25519 and a fleet's states are "
                "signed by the thousand",
                "leave --signer out",
            )
        staged = self._staging.staged().get(TARGETS)
        epoch = max(self._repository.director_epoch(), newest_epoch(_targets(staged)) if staged else 0)
        epoch = max(epoch, *director_epochs(self._keys), 0) + 1
        with self._staging.edit_targets() as targets:
            self._name_director(targets, epoch)

    def _name_director(self, targets: Targets, epoch: int) -> None:
        """Have targets metadata name one director key and no other."""
        roles = _roles(targets)
        for old in [role for role in roles if epoch_of(role) is not None]:
            for key_id in list(roles[old].keyids):
                targets.revoke_key(key_id, old)
            del roles[old]
        key = SSlibKey.from_crypto(read_director_public_key(self._keys, epoch))
        _delegate(targets, director_role(epoch), [director_paths(epoch)], [key])

    def _rotate_offline(self, role: str, rotation: Rotation) -> None:
        chosen = OFFLINE if role == ALL_OFFLINE else (role,)
        new = _ceremony_keys(rotation) if rotation.root else self._keys_here(chosen, rotation)
        # The metadata below an offline role is signed again by its new keys, or it would no longer verify.
        if ROOT in chosen or TARGETS in chosen:
            with self._staging.edit_root() as root:
                for one in {ROOT, TARGETS} & set(chosen):
                    _replace(root, one, *new[one])
        if TARGETS in chosen or CODE_ROLE in chosen:
            with self._staging.edit_targets() as targets:
                if CODE_ROLE in chosen:
                    _replace(targets, CODE_ROLE, *new[CODE_ROLE])
        if CODE_ROLE in chosen:
            with self._staging.edit_targets(CODE_ROLE):
                pass

    def _keys_here(self, chosen: Sequence[str], rotation: Rotation) -> dict[str, tuple[list[Key], int]]:
        """Make new keys on the hub, for roles whose keys lie on it."""
        found: dict[str, tuple[list[Key], int]] = {}
        for role in chosen:
            delegator = self._repository.delegator(role)
            key_ids = delegator.get_delegated_role(role).keyids
            if not rotation.signer and not any(self._repository.offline.place(key_id) for key_id in key_ids):
                raise ConflictError(
                    f"rotating {role}: its keys are kept offline, so the hub makes no new one",
                    "make keys with  shoal trust init --out FOLDER  and give them: "
                    f"shoal trust rotate {role} --from FOLDER",
                )
            store = self._repository.offline
            found[role] = ([store.attach(rotation.signer) if rotation.signer else store.make()], 1)
        return found

    def _next_key(self, rotation: Rotation) -> SSlibKey:
        online = self._repository.online
        return online.attach(rotation.signer) if rotation.signer else online.make()

    def _models(self) -> list[str]:
        return [role for role in self._repository.online_targets() if role != MODELS_ROLE]


def _ceremony_keys(rotation: Rotation) -> dict[str, tuple[list[Key], int]]:
    """Return keys and thresholds of a ceremony, whose metadata its own keys must have signed.

    Raises:
        MetadataError: The files are no ceremony's.
    """
    root_md = parse_metadata(ROOT, rotation.root.encode())
    targets_md = parse_metadata(TARGETS, rotation.targets.encode())
    root, targets = root_md.signed, _targets(targets_md)
    assert isinstance(root, Root)  # noqa: S101 - parse_metadata has looked
    try:
        root.verify_delegate(ROOT, root_md.signed_bytes, root_md.signatures)
        root.verify_delegate(TARGETS, targets_md.signed_bytes, targets_md.signatures)
        found = {role: _keys_of(root, role) for role in (ROOT, TARGETS)}
        return found | {CODE_ROLE: _keys_of(targets, CODE_ROLE)}
    except (RepositoryError, ValueError) as error:
        raise MetadataError(
            f"reading the ceremony's root and targets metadata: {error}",
            "make them with: shoal trust init --out FOLDER",
        ) from error


def _keys_of(delegator: Root | Targets, role: str) -> tuple[list[Key], int]:
    found = delegator.get_delegated_role(role)
    return [delegator.get_key(key_id) for key_id in found.keyids], found.threshold


def _delegate(targets: Targets, role: str, paths: list[str], keys: Sequence[Key], threshold: int = 1) -> None:
    _roles(targets)[role] = DelegatedRole(role, [], threshold, terminating=False, paths=paths)
    for key in keys:
        targets.add_key(key, role)


def _replace(delegator: Root | Targets, role: str, keys: Sequence[Key], threshold: int = 1) -> None:
    found: Role = delegator.get_delegated_role(role)
    for key_id in list(found.keyids):
        delegator.revoke_key(key_id, role)
    for key in keys:
        delegator.add_key(key, role)
    found.threshold = threshold


def _roles(targets: Targets) -> dict[str, DelegatedRole]:
    if targets.delegations is None or targets.delegations.roles is None:
        msg = "reading targets metadata: it delegates no role"
        raise MetadataError(msg, "restore the database from a backup")
    return targets.delegations.roles


def _targets(md: AnyMetadata) -> Targets:
    if not isinstance(md.signed, Targets):
        msg = f"reading targets metadata: found the type {md.signed.type}"
        raise MetadataError(msg, "hand in the right file")
    return md.signed
