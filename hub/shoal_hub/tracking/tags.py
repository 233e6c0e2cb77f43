"""Tags of experiments, runs, models and versions: set, deleted, read for many at once."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from sqlmodel import Session, col, delete, select

from shoal_hub.database import is_among
from shoal_hub.errors import NotFoundError
from shoal_hub.tracking.tables import TagKind, TrackingTag

Tags = Mapping[str, str]


def set_tags(session: Session, kind: TagKind, owner: str, tags: Tags) -> None:
    """Set tags of a thing; those that are there get the new value."""
    for key, value in tags.items():
        row = session.get(TrackingTag, (kind, owner, key)) or TrackingTag(kind=kind, owner=owner, key=key, value=value)
        row.value = value
        session.add(row)
    session.flush()


def delete_tag(session: Session, kind: TagKind, owner: str, key: str) -> None:
    """Delete a tag.

    Raises:
        NotFoundError: The thing has none of this name.
    """
    row = session.get(TrackingTag, (kind, owner, key))
    if row is None:
        raise NotFoundError(f"deleting a tag: {kind} {owner} has no tag {key[:80]!r}", "look at its tags first")
    session.delete(row)


def tags_of(session: Session, kind: TagKind, owners: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return tags by thing, in the order of their names."""
    wanted = select(TrackingTag).where(TrackingTag.kind == kind, is_among(col(TrackingTag.owner), owners))
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for row in session.exec(wanted.order_by(col(TrackingTag.key))):
        found[row.owner][row.key] = row.value
    return found


def forget_tags(session: Session, kind: TagKind, owner: str) -> None:
    """Delete all tags of a thing."""
    session.exec(delete(TrackingTag).where(col(TrackingTag.kind) == kind, col(TrackingTag.owner) == owner))
