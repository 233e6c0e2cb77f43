"""Under which name a rollout owns intents and leases."""


def owner_of(rollout_id: str) -> str:
    """Return the name under which a rollout owns intents and leases."""
    return f"rollout/{rollout_id}"
