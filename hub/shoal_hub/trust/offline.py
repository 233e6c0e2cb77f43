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
from shoal_hub.trust.signers import import_public_key, read_pin
from shoal_hub.trust.signing import (
    AnyMetadata,
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
    """How many keys each offline role gets, and how many of them must sign."""

    root_keys: int = 3
    root_threshold: int = 2
    targets_keys: int = 1
    targets_threshold: int = 1
    code_keys: int = 1
    code_threshold: int = 1


@dataclass(frozen=True)
class Reviewed:
    """What a request changes and what it still wants, in words, by role."""

    changes: dict[str, list[str]]
    missing: dict[str, list[str]]


def make_ceremony(folder: Path, passphrase: bytes, plan: Plan) -> list[Path]:
    """Make the offline keys of a hub, each encrypted, and the metadata that names them.

    Args:
        folder: A new folder.
        passphrase: What a person types to use the keys.
        plan: How many.

    Returns:
        Where the keys lie, one path each.

    Raises:
        TrustError: The folder is there already, the passphrase is short, or a threshold cannot be reached.
    """
    _check(folder, passphrase, plan)
    keys: dict[str, list[Signer]] = {}
    paths = []
    for role, count in ((ROOT, plan.root_keys), (TARGETS, plan.targets_keys), (CODE_ROLE, plan.code_keys)):
        keys[role] = []
        for number in range(1, count + 1):
            key = Ed25519PrivateKey.generate()
            signer = CryptoSigner(key)
            store = Keystore(folder / "keys" / f"{role}-{number}", passphrase, is_typed=True)
            store.write(signer.public_key.keyid, key)
            paths.append(store.path(signer.public_key.keyid))
            keys[role].append(signer)
    for role, md in (_name_root_keys(keys, plan), _name_code_keys(keys, plan)):
        for one in keys[role]:
            md.sign(one, append=True)
        (folder / f"{role}.json").write_bytes(md.to_bytes())
    return paths


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
    uri, public = import_public_key(url)
    return Signer.from_priv_key_uri(uri, public, read_pin)


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


def _check(folder: Path, passphrase: bytes, plan: Plan) -> None:
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise TrustError(
            f"making offline keys: the passphrase has {len(passphrase)} bytes, at least {SHORTEST_PASSPHRASE} expected",
            "use a longer one; several words are easy to keep",
        )
    for role, count, threshold in (
        (ROOT, plan.root_keys, plan.root_threshold),
        (TARGETS, plan.targets_keys, plan.targets_threshold),
        (CODE_ROLE, plan.code_keys, plan.code_threshold),
    ):
        if not 1 <= threshold <= count:
            raise TrustError(
                f"making offline keys: {threshold} signatures of {role} were asked for, by {count} keys",
                f"give --{role}-threshold of at most {count}, or more --{role}-keys",
            )
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
