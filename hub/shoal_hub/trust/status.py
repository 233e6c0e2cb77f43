"""What the hub's trust looks like: roles, keys and where they lie, what waits for signatures, what runs out."""

from collections.abc import Iterator
from datetime import datetime

from sqlmodel import Session, select
from tuf.api.metadata import Root, Targets

from shoal_client.tuf import StagedRole, TrustKey, TrustRole, TrustStatus
from shoal_contract.trust import epoch_of
from shoal_hub.trust.hub_trust import HubTrust
from shoal_hub.trust.repository import Standing, TrustRepository
from shoal_hub.trust.roles import OFFLINE, ROOT, TARGETS, TOP_LEVEL
from shoal_hub.trust.signing import describe_changes, missing_signatures
from shoal_hub.trust.staging import Staging
from shoal_hub.trust.tables import StagedMetadata


def read_status(session: Session, trust: HubTrust, now: datetime) -> TrustStatus:
    """Return the status. Before the first metadata there is nothing to show."""
    repository = trust.reading(session)
    if repository.newest(ROOT) is None:
        return TrustStatus(roles=[], staged=[], warnings=["the first start makes keys"], director_epoch=0)
    roles = list(_roles(trust, repository))
    staged = _staged(session, repository)
    warnings = [*_lying_here(roles), *_keyless(roles), *_running_out(repository, now), *_waiting(staged)]
    return TrustStatus(roles=roles, staged=staged, warnings=warnings, director_epoch=repository.director_epoch())


def is_running_out(row: Standing, repository: TrustRepository, now: datetime) -> bool:
    """Whether less than a quarter of a role's life is left: its renewal at half of it has not come about."""
    return now >= row.expires_at - repository.lives.of(row.role) / 4


def _roles(trust: HubTrust, repository: TrustRepository) -> Iterator[TrustRole]:
    root, targets = repository.root(), repository.targets(TARGETS)
    for role in TOP_LEVEL:
        yield _role(trust, repository, root, role)
    for role in _delegated(targets):
        yield _role(trust, repository, targets, role)
    models = repository.targets("models")
    for role in _delegated(models):
        yield _role(trust, repository, models, role)


def _delegated(targets: Targets) -> list[str]:
    return list(targets.delegations.roles or {}) if targets.delegations else []


def _role(trust: HubTrust, repository: TrustRepository, delegator: Root | Targets, role: str) -> TrustRole:
    found, row = delegator.get_delegated_role(role), repository.newest(role)
    store = repository.offline if role in OFFLINE else repository.online
    epoch = epoch_of(role)
    places = {key_id: store.place(key_id) for key_id in found.keyids}
    if epoch is not None:
        places = dict.fromkeys(found.keyids, "keystore" if trust.has_director(epoch) else "")
    return TrustRole(
        role=role,
        version=row.version if row else None,
        expires_at=row.expires_at if row else None,
        threshold=found.threshold,
        keys=[TrustKey(key_id=key_id, place=place) for key_id, place in places.items()],
    )


def _staged(session: Session, repository: TrustRepository) -> list[StagedRole]:
    staging = Staging(repository)
    current, staged = staging.current(), staging.staged()
    missing = missing_signatures(current, staged)
    times = {row.role: row.created_at for row in session.exec(select(StagedMetadata)).all()}
    return [
        StagedRole(
            role=role,
            version=md.signed.version,
            created_at=times[role],
            missing=missing[role],
            changes=describe_changes(role, current.get(role), md),
        )
        for role, md in staged.items()
    ]


def _lying_here(roles: list[TrustRole]) -> Iterator[str]:
    here = [one.role for one in roles if one.role in OFFLINE and any(_is_file(key.place) for key in one.keys)]
    if here:
        yield (
            f"the keys of {', '.join(here)} lie on the hub: whoever has its disk and passphrase has the fleet; take "
            "them away: shoal trust init --out FOLDER elsewhere, then  shoal trust rotate offline --from FOLDER"
        )


def _keyless(roles: list[TrustRole]) -> Iterator[str]:
    for one in roles:
        if one.role not in OFFLINE and not any(key.place for key in one.keys):
            role = one.role if epoch_of(one.role) is None else "director"
            yield f"the hub has no key of the role {one.role}: shoal trust rotate {role}"


def _running_out(repository: TrustRepository, now: datetime) -> Iterator[str]:
    for row in repository.standing():
        if is_running_out(row, repository, now):
            yield expiry_text(row)


def _waiting(staged: list[StagedRole]) -> Iterator[str]:
    for one in staged:
        yield f"a change of {one.role} waits for signatures: shoal trust sign --keys FOLDER"


def expiry_text(row: Standing) -> str:
    """Return a line on metadata that runs out, with the remedy."""
    remedy = "shoal trust sign --keys FOLDER" if row.role in OFFLINE else "see the controller's log"
    return f"the metadata of {row.role} expires at {row.expires_at:%Y-%m-%d %H:%M} UTC: {remedy}"


def _is_file(place: str) -> bool:
    return place.startswith("/")
