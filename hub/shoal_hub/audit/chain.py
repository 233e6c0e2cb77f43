"""The chain of entries and its signed anchors, pure: what they say, and what verifying finds.

It takes entries and anchors from anywhere (the hub's database, an export, files that an auditor kept), so that the
trail can be checked without trusting the hub. An anchor says: at this time there were `count` entries, and the last
one had this hash. Source of the idea: Schneier and Kelsey, "Secure audit logs to support computer forensics" (1999).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import BaseModel, ConfigDict

from shoal_contract import envelope
from shoal_contract.errors import ContractError
from shoal_contract.ids import Sha256
from shoal_contract.wire import Count, UtcTime, WireMessage, parse_message
from shoal_hub.audit.entry import START, Entry, hash_entry

ANCHOR_TYPE: Final = "application/vnd.shoal.audit-anchor+json"
MAX_ANCHOR_BYTES: Final = 4096
MAX_FINDINGS: Final = 100
"""A trail that is broken everywhere is told of so often, and no oftener."""
Kind = Literal["edited", "gap", "order", "broken_link", "rewritten", "cut", "forged_anchor", "anchors_cut", "no_anchor"]


class Anchor(WireMessage):
    """What is signed: how many entries there were, and the hash of the last."""

    count: Count
    head_sha256: Sha256
    at: UtcTime


class Finding(BaseModel):
    """One thing that is wrong, about the entries from `first` to `last`."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    first: int
    last: int
    message: str


class Report(BaseModel):
    """What a verification came to. `covered` entries are vouched for by an anchor; later ones by their chain alone."""

    model_config = ConfigDict(frozen=True)

    entries: int
    head_sha256: str
    covered: int
    anchors: int
    last_anchor_at: datetime | None
    uncovered_since: datetime | None
    """When the oldest entry after the last anchor was made."""
    findings: list[Finding]
    holds: bool
    """Whether nothing is wrong."""


PublicKeys: TypeAlias = Mapping[str, Ed25519PublicKey]
"""The keys that have signed anchors, by their ids in envelopes."""
_PEM: Final = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----\s*", re.DOTALL)


def key_id(number: int) -> str:
    """Return the name of the key that signs anchors after `number - 1` rotations."""
    return f"audit-{number}"


def read_public_keys(pem: bytes) -> PublicKeys:
    """Read public keys, PEM one after the other: the first is `audit-1`.

    Raises:
        ValueError: There is none, one is damaged, or one is no Ed25519 key.
    """
    keys = [load_pem_public_key(one) for one in _PEM.findall(pem)]
    if not keys or _PEM.sub(b"", pem).strip():
        msg = "PEM public keys alone were expected"
        raise ValueError(msg)
    read: dict[str, Ed25519PublicKey] = {}
    for number, key in enumerate(keys, 1):
        if not isinstance(key, Ed25519PublicKey):
            msg = f"an Ed25519 key was expected, found {type(key).__name__}"
            raise ValueError(msg)  # noqa: TRY004 - the file is wrong, not the program
        read[key_id(number)] = key
    return read


def read_anchor(signed: bytes, keys: PublicKeys) -> Anchor:
    """Return the anchor of an envelope.

    Raises:
        ContractError: It is signed by none of `keys`, or not an anchor.
    """
    payload = envelope.verify(signed, ANCHOR_TYPE, keys, MAX_ANCHOR_BYTES).payload
    return parse_message(Anchor, payload, MAX_ANCHOR_BYTES)


def read_anchors(lines: Iterable[bytes], keys: PublicKeys) -> tuple[list[Anchor], list[Finding]]:
    """Read a file of anchors, one envelope a line; what no key of ours has signed is a finding."""
    anchors: list[Anchor] = []
    findings: list[Finding] = []
    for number, line in enumerate(lines, 1):
        try:
            anchors.append(read_anchor(line.strip(), keys))
        except ContractError as error:
            last = anchors[-1].count if anchors else 0
            findings.append(_finding("forged_anchor", last, last, f"line {number} of the anchors: {error}"))
    return anchors, findings


def compare_kept(anchors: Sequence[Anchor], kept: Anchor | None) -> list[Finding]:
    """Hold the anchors of a file against one that was kept elsewhere: a file that ends earlier was cut."""
    if kept is None:
        return []
    last = anchors[-1] if anchors else None
    if last is not None and last.at >= kept.at:
        return []
    count = last.count if last else 0
    end = f"ends with {count} entries at {_time(last.at)}" if last else "is empty"
    text = f"an anchor kept elsewhere says {kept.count} entries at {_time(kept.at)}, but the file of anchors {end}"
    return [_finding("anchors_cut", count, kept.count, text)]


def verify(entries: Iterable[Entry], anchors: Sequence[Anchor], *, count: int = 0, head: str = START) -> Report:
    """Check a run of entries, in the order of their sequence, against their own chain and against anchors.

    Args:
        entries: All entries after the first `count`.
        anchors: In any order, from any number of places.
        count: Entries that are known already.
        head: The hash of the last of these.
    """
    walk = _Walk(count, head, {})
    for anchor in anchors:
        walk.anchored.setdefault(anchor.count, set()).add(anchor.head_sha256)
    walk.check_anchors()
    for entry in entries:
        walk.take(entry)
    newest = max(anchors, key=lambda one: (one.count, one.at), default=None)
    walk.finish(newest)
    findings = walk.findings[:MAX_FINDINGS]
    return Report(
        entries=walk.seen,
        head_sha256=walk.head,
        covered=walk.covered,
        anchors=len(anchors),
        last_anchor_at=max((one.at for one in anchors), default=None),
        uncovered_since=walk.uncovered_since,
        findings=findings,
        holds=not findings,
    )


def examine(entries: Iterable[Entry], lines: Iterable[bytes], keys: PublicKeys, kept: bytes | None) -> Report:
    """Check a whole trail against a file of anchors, and that file against an anchor that was kept elsewhere.

    Args:
        entries: All entries, in the order of their sequence.
        lines: The anchors, an envelope a line.
        keys: The public halves of the keys that have signed anchors.
        kept: An envelope that somebody else has kept; None for none.
    """
    anchors, findings = read_anchors(lines, keys)
    elsewhere, forged = read_anchors([kept] if kept is not None else [], keys)
    findings += forged
    for one in elsewhere:
        findings += compare_kept(anchors, one)
    report = verify(entries, [*anchors, *(one for one in elsewhere if one not in anchors)])
    findings = [*findings, *report.findings][:MAX_FINDINGS]
    return report.model_copy(update={"findings": findings, "holds": not findings})


@dataclass
class _Walk:
    """Goes along the chain, one entry at a time."""

    last: int
    head: str
    anchored: dict[int, set[str]]
    seen: int = 0
    covered: int = 0
    uncovered_since: datetime | None = None
    findings: list[Finding] = field(default_factory=list)
    _is_rewritten: bool = False

    def take(self, entry: Entry) -> None:
        number = entry.sequence
        self.seen += 1
        if number <= self.last:
            self._find("order", number, number, f"entry {number} comes after entry {self.last}")
        elif number > self.last + 1:
            self._find("gap", self.last + 1, number - 1, _gap(self.last, number))
        elif entry.previous_sha256 != self.head:
            text = f"entry {number} does not follow on entry {self.last}: one of the two was replaced"
            self._find("broken_link", max(self.last, 1), number, text)
        if hash_entry(entry) != entry.sha256:
            self._find("edited", number, number, f"entry {number} was edited: its hash is not that of its content")
        self.last, self.head = max(number, self.last), entry.sha256
        if self.uncovered_since is None:
            self.uncovered_since = entry.at
        self.check_anchors()

    def check_anchors(self) -> None:
        """Compare with the anchors of this count; all that follows a first difference is told of with it."""
        heads = self.anchored.get(self.last)
        if heads is None:
            return
        if heads == {self.head}:
            self.covered, self.uncovered_since = self.last, None
        elif not self._is_rewritten:
            self._is_rewritten = True
            text = (
                f"entries up to {self.last} are not those that were signed: "
                f"one from {self.covered + 1} on was replaced and the chain made anew"
            )
            self._find("rewritten", self.covered + 1, self.last, text)

    def finish(self, newest: Anchor | None) -> None:
        """Compare the end with the anchor of the most entries."""
        if newest is not None and newest.count > self.last:
            text = (
                f"the tail is cut: an anchor of {_time(newest.at)} says {newest.count} entries, "
                f"the trail ends with {self.last}"
            )
            self._find("cut", self.last + 1, newest.count, text)
        if newest is None and self.seen:
            text = "no anchor vouches for the trail; all that is known is that its chain holds"
            self._find("no_anchor", 1, self.last, text)

    def _find(self, kind: Kind, first: int, last: int, message: str) -> None:
        self.findings.append(_finding(kind, first, last, message))


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _gap(before: int, after: int) -> str:
    missing = f"entry {before + 1} is" if after == before + 2 else f"entries {before + 1} to {after - 1} are"
    return f"gap: {missing} missing" + (f" between {before} and {after}" if before else f" before {after}")


def _finding(kind: Kind, first: int, last: int, message: str) -> Finding:
    return Finding(kind=kind, first=first, last=last, message=message)
