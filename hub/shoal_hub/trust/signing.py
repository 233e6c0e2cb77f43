"""What offline keys sign: whether it is signed enough, what it changes, and adding signatures. Pure; no hub needed."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Signature, Signer
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Key, Metadata, Role, Root, Targets

from shoal_hub.trust.errors import MetadataError, SignerError
from shoal_hub.trust.roles import OFFLINE, ROOT, TARGETS

AnyMetadata: TypeAlias = Metadata[Any]
Documents: TypeAlias = Mapping[str, AnyMetadata]
"""Metadata of offline roles by role."""
SignerOf: TypeAlias = Callable[[Key], Signer | None]
"""Gives what signs by a key; None where the key is not at hand."""
_SHORT: Final = 12


def parse_metadata(role: str, text: bytes) -> AnyMetadata:
    """Read metadata that somebody handed in.

    Raises:
        MetadataError: It is no metadata of the role's kind.
    """
    try:
        md = Metadata.from_bytes(text)
    except RepositoryError as error:
        raise MetadataError(f"reading the metadata of {role}: {error}", "hand in the file as it was written") from error
    expected = Root if role == ROOT else Targets
    if not isinstance(md.signed, expected) or role not in OFFLINE:
        raise MetadataError(
            f"reading the metadata of {role}: found the type {md.signed.type}",
            f"hand in metadata of the roles {', '.join(OFFLINE)}",
        )
    return md


def verifiers(role: str, current: Documents, staged: Documents) -> Iterator[tuple[str, Root | Targets]]:
    """Yield whose keys must have signed staged metadata, each with a word for it."""
    if role == ROOT:
        if ROOT in current:
            yield "the root in force", _root(current)
        yield "the new root", _root(staged)
    elif role == TARGETS:
        yield "root", _root(staged if ROOT in staged else current)
    else:
        yield "targets", _targets(staged if TARGETS in staged else current)


def missing_signatures(current: Documents, staged: Documents) -> dict[str, list[str]]:
    """Return, for each staged role, what is wanted still, in words; empty lists where all is signed."""
    missing: dict[str, list[str]] = {}
    for role, md in staged.items():
        missing[role] = []
        for word, verifier in verifiers(role, current, staged):
            result = verifier.get_verification_result(role, md.signed_bytes, md.signatures)
            if not result.verified:
                wanted = ", ".join(key_id[:_SHORT] for key_id in sorted(result.unsigned))
                count = result.threshold - len(result.signed)
                missing[role].append(f"{count} more by the keys that {word} names for it ({wanted})")
    return missing


def sign_staged(current: Documents, staged: Documents, signer_of: SignerOf) -> list[str]:
    """Add every signature that is wanted and that there is a key for.

    Args:
        current: AnyMetadata in force.
        staged: What is to be signed; changed in place.
        signer_of: Gives what signs by a key, None where the key is not at hand.

    Returns:
        A line for each signature that was added.
    """
    added = []
    for role, md in staged.items():
        for key in _wanted_keys(role, current, staged).values():
            if key.keyid in md.signatures:
                continue
            signer = signer_of(key)
            if signer is not None:
                add_signature(md, signer, role)
                added.append(f"{role}: signed by {key.keyid[:_SHORT]}")
    return added


def add_signature(md: AnyMetadata, signer: Signer, role: str) -> None:
    """Sign metadata.

    Raises:
        SignerError: The signer's token or service does not answer.
    """
    try:
        md.sign(signer, append=True)
    except UnsignedMetadataError as error:
        raise SignerError(
            f"signing the metadata of the role {role} with {signer.public_key.keyid[:_SHORT]}: {error}",
            "see that the token or service is there, and its PIN",
        ) from error


def merge_signatures(current: Documents, staged: Documents, signed: Documents) -> int:
    """Take over valid signatures that were made elsewhere; return how many were new.

    Raises:
        MetadataError: What was signed is not what is staged, or a signature is none of a key that may sign.
    """
    added = 0
    for role, md in signed.items():
        if role not in staged or md.signed_bytes != staged[role].signed_bytes:
            raise MetadataError(
                f"taking signatures for {role}: what was signed is not what is staged",
                "fetch it again: shoal trust sign --save FILE",
            )
        keys = _wanted_keys(role, current, staged)
        for key_id, signature in md.signatures.items():
            if key_id in staged[role].signatures:
                continue
            _check(role, keys, key_id, signature, md)
            staged[role].signatures[key_id] = signature
            added += 1
    return added


def describe_changes(role: str, before: AnyMetadata | None, after: AnyMetadata) -> list[str]:
    """Return what staged metadata changes, in words."""
    old = before.signed if before is not None else None
    lines = [f"version {old.version if old else 'none'} → {after.signed.version}"]
    lines.append(f"expires {after.signed.expires:%Y-%m-%d}")
    old_roles, new_roles = _named_roles(old), _named_roles(after.signed)
    for name in [*old_roles, *(name for name in new_roles if name not in old_roles)]:
        lines += _describe_role(name, old_roles.get(name), new_roles.get(name))
    if isinstance(after.signed, Targets):
        lines += _describe_files(old if isinstance(old, Targets) else None, after.signed)
    if len(lines) == 2:  # noqa: PLR2004 - version and expiry, which always differ
        lines.append(f"signed again, nothing else of {role} changes")
    return lines


def out_of(signers: Iterable[Signer]) -> SignerOf:
    """Return what gives the signer of a key, out of these."""
    by_key_id = {signer.public_key.keyid: signer for signer in signers}
    return lambda key: by_key_id.get(key.keyid)


def _wanted_keys(role: str, current: Documents, staged: Documents) -> dict[str, Key]:
    keys: dict[str, Key] = {}
    for _, verifier in verifiers(role, current, staged):
        keys |= {key_id: verifier.get_key(key_id) for key_id in verifier.get_delegated_role(role).keyids}
    return keys


def _check(role: str, keys: Mapping[str, Key], key_id: str, signature: Signature, md: AnyMetadata) -> None:
    if key_id not in keys:
        raise MetadataError(
            f"taking signatures for {role}: the key {key_id} is none of those that may sign it",
            "sign with the keys that `shoal trust status` lists",
        )
    try:
        keys[key_id].verify_signature(signature, md.signed_bytes)
    except UnverifiedSignatureError as error:
        raise MetadataError(f"taking signatures for {role}: that of {key_id} does not hold", "sign it again") from error


def _root(documents: Documents) -> Root:
    found = documents[ROOT].signed
    if not isinstance(found, Root):
        raise MetadataError(f"reading root metadata: found the type {found.type}", "hand in the right file")
    return found


def _targets(documents: Documents) -> Targets:
    found = documents[TARGETS].signed
    if not isinstance(found, Targets):
        raise MetadataError(f"reading targets metadata: found the type {found.type}", "hand in the right file")
    return found


def _named_roles(signed: object) -> Mapping[str, Role]:
    if isinstance(signed, Root):
        return signed.roles
    if isinstance(signed, Targets) and signed.delegations is not None:
        return signed.delegations.roles or {}
    return {}


def _describe_role(name: str, old: Role | None, new: Role | None) -> list[str]:
    if new is None:
        return [f"role {name} is taken away"]
    known = set(old.keyids) if old is not None else set()
    lines = [f"role {name} gets the key {key_id[:_SHORT]}" for key_id in new.keyids if key_id not in known]
    lines += [f"role {name} loses the key {key_id[:_SHORT]}" for key_id in sorted(known - set(new.keyids))]
    if old is not None and old.threshold != new.threshold:
        lines.append(f"role {name} needs {new.threshold} signatures, {old.threshold} so far")
    return lines


def _describe_files(old: Targets | None, new: Targets) -> list[str]:
    before = old.targets if old is not None else {}
    lines = [f"file {path} is listed anew" for path, info in new.targets.items() if before.get(path) != info]
    return lines + [f"file {path} is no longer listed" for path in before if path not in new.targets]
