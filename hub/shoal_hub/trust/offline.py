"""What is done where the offline keys are: the ceremony that makes them, and signing. Needs no hub and no network.

A ceremony's folder holds `root.json` and `targets.json`, which name the keys and are signed by them, and below `keys/`
a folder a key, each to be taken to a place of its own. The two files are public: the hub takes the keys' public halves
from them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError
from securesystemslib.signer import CryptoSigner, Key, Signer
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Root, Targets

from shoal_client.tuf import SigningRequest
from shoal_contract.trust import CODE_PATHS, CODE_ROLE
from shoal_hub.trust.errors import MetadataError, TrustError
from shoal_hub.trust.keystore import Keystore
from shoal_hub.trust.roles import OFFLINE, ROOT, TARGETS
from shoal_hub.trust.signers import import_public_key, open_signer
from shoal_hub.trust.signing import (
    AnyMetadata,
    add_signature,
    describe_changes,
    missing_signatures,
    out_of,
    parse_metadata,
    sign_staged,
)

SHORTEST_PASSPHRASE: Final = 12
_LIFE: Final = timedelta(days=365)
_FOLDER_MODE: Final = 0o700


@dataclass(frozen=True)
class Plan:
    """How many keys each offline role gets, how many of them must sign, and which lie behind a signer's URL.

    `urls` are pairs of a role and a URL; each stands for one of the role's keys, the others are made as files.
    """

    root_keys: int = 3
    root_threshold: int = 2
    targets_keys: int = 1
    targets_threshold: int = 1
    code_keys: int = 1
    code_threshold: int = 1
    urls: tuple[tuple[str, str], ...] = ()

    @property
    def roles(self) -> tuple[tuple[str, int, int], ...]:
        """Each role with its number of keys and its threshold."""
        return (
            (ROOT, self.root_keys, self.root_threshold),
            (TARGETS, self.targets_keys, self.targets_threshold),
            (CODE_ROLE, self.code_keys, self.code_threshold),
        )

    def urls_of(self, role: str) -> list[str]:
        """Return the URLs of a role."""
        return [url for one, url in self.urls if one == role]

    @property
    def has_files(self) -> bool:
        """Whether any key is made as a file, which needs a passphrase."""
        return any(count > len(self.urls_of(role)) for role, count, _ in self.roles)


@dataclass(frozen=True)
class Reviewed:
    """What a request changes and what it still wants, in words, by role."""

    changes: dict[str, list[str]]
    missing: dict[str, list[str]]


def make_ceremony(folder: Path, passphrase: bytes, plan: Plan) -> list[str]:
    """Make the offline keys of a hub, each encrypted, and the metadata that names them.

    Args:
        folder: A new folder.
        passphrase: What a person types to use the keys; empty where all lie behind URLs.
        plan: How many, and which of them exist already in a token or a KMS.

    Returns:
        Where the keys lie, one path or URL each.

    Raises:
        TrustError: The folder is there already, the passphrase is short, or a threshold cannot be reached.
        SignerError: No key answers at one of the URLs.
    """
    _check(passphrase, plan)
    keys = {role: _open_each(role, plan.urls_of(role)) for role, _, _ in plan.roles}
    _make_folder(folder)
    places = []
    for role, count, _ in plan.roles:
        places += plan.urls_of(role)
        for number in range(len(keys[role]) + 1, count + 1):
            key = Ed25519PrivateKey.generate()
            signer = CryptoSigner(key)
            store = Keystore(folder / "keys" / f"{role}-{number}", passphrase, is_typed=True)
            store.write(signer.public_key.keyid, key)
            places.append(str(store.path(signer.public_key.keyid)))
            keys[role].append(signer)
    for role, md in (_name_root_keys(keys, plan), _name_code_keys(keys, plan)):
        for one in keys[role]:
            add_signature(md, one, role)
        (folder / f"{role}.json").write_bytes(md.to_bytes())
    return places


def read_ceremony(folder: Path) -> tuple[str, str]:
    """Return the root and targets metadata of a ceremony's folder.

    Raises:
        TrustError: They are not there.
    """
    try:
        return (folder / "root.json").read_text(), (folder / "targets.json").read_text()
    except OSError as error:
        raise TrustError(
            f"reading the ceremony in {folder}: {error}", "name the folder that `shoal trust init --out` made"
        ) from error


def open_signers(folder: Path, passphrase: bytes) -> list[Signer]:
    """Open every key in a folder and the folders below.

    Raises:
        TrustError: There is none, or the passphrase does not open one.
    """
    paths = sorted(folder.rglob("*.key"))
    if not paths:
        raise TrustError(f"opening the keys in {folder}: there is none", "name the folder that holds the .key files")
    stores = [(Keystore(path.parent, passphrase, is_typed=True), path.stem) for path in paths]
    return [CryptoSigner(store.read_ed25519(name)) for store, name in stores]


def open_signer_url(url: str) -> Signer:
    """Open the key behind a signer's URL, such as a PKCS #11 token's.

    Raises:
        SignerError: No key answers there.
    """
    return open_signer(*import_public_key(url))


def read_request(text: bytes) -> SigningRequest:
    """Read the file that travels between hub and keys.

    Raises:
        MetadataError: It is none.
    """
    try:
        return SigningRequest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        found = ": ".join([*map(str, first["loc"]), first["msg"]])
        raise MetadataError(
            f"reading a signing request: {found}", "use the file that `shoal trust sign --save` wrote"
        ) from error


def review(request: SigningRequest) -> Reviewed:
    """Return what a request changes and what it still wants.

    Raises:
        MetadataError: It holds something that is no metadata of an offline role.
    """
    current, staged = _parse(request.current), _parse(request.staged)
    changes = {role: describe_changes(role, current.get(role), md) for role, md in staged.items()}
    return Reviewed(changes, missing_signatures(current, staged))


def sign_request(request: SigningRequest, signers: Sequence[Signer]) -> tuple[SigningRequest, list[str]]:
    """Sign all that these keys may sign; return the request with the signatures, and a line for each.

    Raises:
        MetadataError: See `review`.
        TrustError: None of the keys may sign anything of it.
    """
    current, staged = _parse(request.current), _parse(request.staged)
    added = sign_staged(current, staged, out_of(signers))
    if not added:
        raise TrustError(
            "signing: none of these keys is wanted for what is staged, or each has signed already",
            "see which keys are: shoal trust status",
        )
    texts = {role: md.to_bytes().decode() for role, md in staged.items()}
    return SigningRequest(current=request.current, staged=texts), added


def _check(passphrase: bytes, plan: Plan) -> None:
    if plan.has_files and len(passphrase) < SHORTEST_PASSPHRASE:
        raise TrustError(
            f"making offline keys: the passphrase has {len(passphrase)} bytes, at least {SHORTEST_PASSPHRASE} expected",
            "use a longer one; several words are easy to keep",
        )
    unknown = {role for role, _ in plan.urls} - {role for role, _, _ in plan.roles}
    if unknown:
        raise TrustError(
            f"making offline keys: {', '.join(sorted(unknown))} is no role that is signed offline",
            f"those are {', '.join(role for role, _, _ in plan.roles)}",
        )
    for role, count, threshold in plan.roles:
        if not 1 <= threshold <= count:
            raise TrustError(
                f"making offline keys: {threshold} signatures of {role} were asked for, by {count} keys",
                f"give --{role}-threshold of at most {count}, or more --{role}-keys",
            )
        if len(plan.urls_of(role)) > count:
            raise TrustError(
                f"making offline keys: {role} gets {count} keys, {len(plan.urls_of(role))} signers are named for it",
                f"raise --{role}-keys",
            )


def _open_each(role: str, urls: Sequence[str]) -> list[Signer]:
    signers = [open_signer_url(url) for url in urls]
    if len({one.public_key.keyid for one in signers}) < len(signers):
        raise TrustError(
            f"making offline keys: two of the signers of {role} are one key: {', '.join(urls)}",
            "a threshold counts keys: name another one",
        )
    return signers


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=_FOLDER_MODE, parents=True)
    except FileExistsError as error:
        raise TrustError(f"making offline keys: {folder} is there already", "name a new folder") from error
    folder.chmod(_FOLDER_MODE)


def _name_root_keys(keys: dict[str, list[Signer]], plan: Plan) -> tuple[str, AnyMetadata]:
    root = Root(expires=_expiry())
    for role, threshold in ((ROOT, plan.root_threshold), (TARGETS, plan.targets_threshold)):
        _add(root, role, keys[role], threshold)
    return ROOT, Metadata(root)


def _name_code_keys(keys: dict[str, list[Signer]], plan: Plan) -> tuple[str, AnyMetadata]:
    role = DelegatedRole(CODE_ROLE, [], 1, terminating=False, paths=[CODE_PATHS])
    targets = Targets(expires=_expiry(), delegations=Delegations({}, {CODE_ROLE: role}))
    _add(targets, CODE_ROLE, keys[CODE_ROLE], plan.code_threshold)
    return TARGETS, Metadata(targets)


def _add(delegator: Root | Targets, role: str, signers: Sequence[Signer], threshold: int) -> None:
    for signer in signers:
        key: Key = signer.public_key
        delegator.add_key(key, role)
    delegator.get_delegated_role(role).threshold = threshold


def _expiry() -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + _LIFE


def _parse(texts: dict[str, str]) -> dict[str, AnyMetadata]:
    unknown = set(texts) - set(OFFLINE)
    if unknown:
        msg = f"reading a signing request: {', '.join(sorted(unknown))} are no roles that are signed offline"
        raise MetadataError(msg, f"those are {', '.join(OFFLINE)}")
    return {role: parse_metadata(role, texts[role].encode()) for role in OFFLINE if role in texts}
