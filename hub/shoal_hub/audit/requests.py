"""Has every transaction of a request leave an entry, by whatever way the route opened it.

A middleware tells which request is being answered; `Database.on_begin` asks for it. No route has to remember.
"""

from contextvars import ContextVar
from typing import Any, Final

from sqlalchemy import event
from sqlmodel import Session
from starlette.types import ASGIApp, Receive, Scope, Send

from shoal_hub.audit.actor import Actor
from shoal_hub.audit.changes import Changes, Difference
from shoal_hub.audit.record import ANSWERS, append_pending, note

ALWAYS: Final = "audit always"
"""Key in `Session.info`: an entry is made even where the request, granted, changed nothing."""
_OUTSIDE: Final = "audit outside"
_API: Final = "/api/v1/"
_request: ContextVar[Scope | None] = ContextVar("request", default=None)


def note_outside(session: Session, name: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Have the entry of this session tell a change that no table shows, like that of a file of the hub.

    Args:
        session: An open transaction.
        name: Of what, like `trust/ca`.
        before: What it was, JSON values by name; no secrets.
        after: What it is now.
    """
    session.info.setdefault(_OUTSIDE, []).append((name, before, after))


class AuditedRequests:
    """ASGI middleware that remembers the request for as long as it is answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        token = _request.set(scope if scope["type"] == "http" else None)
        try:
            await self._app(scope, receive, send)
        finally:
            _request.reset(token)


def watch_request(session: Session) -> None:
    """Watch a session that was opened for the request being answered; others are left alone."""
    scope = _request.get()
    if scope is None:
        return
    session.info[ANSWERS] = True
    changes = Changes(session)

    def keep(session: Session) -> None:
        if session.in_nested_transaction():
            return
        session.flush()
        difference = changes.difference()
        outside = session.info.pop(_OUTSIDE, [])
        for name, before, after in outside:
            difference.before[name], difference.after[name] = before, after
        if difference.before or difference.after or session.info.get(ALWAYS):
            action = _action(scope)
            named = [name for name, _, _ in outside]
            subject = _subject(scope, [*named, *_own(changes.made, action.split(".")[0], difference)], difference)
            note(session, _actor(scope), action, subject, difference.before, difference.after)
            append_pending(session)

    event.listen(session, "before_commit", keep)


def _actor(scope: Scope) -> Actor:
    """Return who asks: what the authentication has left in the request's state."""
    client = scope.get("client")
    address = client[0] if client else ""
    found: Any = scope.get("state", {}).get("actor")
    if found is None:
        return Actor("", "anonymous", "none", address)
    return Actor(str(found.id), str(found.name), str(found.role), str(found.address or address))


def _action(scope: Scope) -> str:
    """Return the route's name: the hub's feature and the function, like `rollouts.create_rollout`."""
    endpoint: Any = scope.get("endpoint")
    parts = endpoint.__module__.split(".") if endpoint is not None else []
    feature = parts[1] if len(parts) > 1 else "hub"
    return f"{feature}.{getattr(endpoint, '__name__', 'unknown')}"


def _own(made: dict[str, str], feature: str, difference: Difference) -> list[str]:
    """Return new rows, those of the route's own feature first, then a job that it begins.

    So a new rollout stands before the files that it brought, and a training before the experiment that it belongs to.
    """
    first = [name for of in (feature, "jobs") for name, one in made.items() if one == of and name in difference.after]
    return [*first, *made]


def _subject(scope: Scope, candidates: list[str], difference: Difference) -> str:
    """Return what the path names, up to its last parameter; without one, the first candidate, or what was changed."""
    path = scope["path"].removeprefix(_API).removeprefix("/").split("/")
    template: list[str] = getattr(scope.get("route"), "path", "").split("/")
    # Counted from the end: the template may be without the prefix that its router was mounted with.
    behind = next((number for number, part in enumerate(reversed(template)) if part.startswith("{")), None)
    if behind is not None:
        return "/".join(path[: len(path) - behind])
    return next(iter([*candidates, *difference.after, *difference.before]), "/".join(path))
