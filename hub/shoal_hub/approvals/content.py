"""What exactly is approved: the plan and all that it would do now, in one value with one hash."""

import hashlib
import json
from typing import Any

from sqlmodel import Session

from shoal_hub.approvals.tables import Kind
from shoal_hub.registry.versions import find_model, find_variants, find_version


def content_of(session: Session, kind: Kind, plan: dict[str, Any]) -> dict[str, Any]:
    """Return what a plan comes to: itself, the bytes that would run, and the rollout that production would start.

    Args:
        session: An open session.
        kind: What sort of plan.
        plan: With `model` and the number of the `version`: never a name that could be moved to another one.

    Raises:
        NotFoundError: There is no such version.
    """
    version = find_version(session, plan["model"], str(plan["version"]))
    content: dict[str, Any] = {
        "kind": kind,
        "plan": plan,
        "variants": {variant.target: variant.sha256 for variant in find_variants(session, version)},
    }
    if kind == "production":
        content["rollout_on_production"] = find_model(session, version.model).rollout_on_production
    return content


def hash_content(content: dict[str, Any]) -> str:
    """Return the SHA-256 of a content's one JSON form."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
