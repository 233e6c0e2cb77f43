"""Under whose name a trial owns intents and leases."""


def owner_of(trial_id: str) -> str:
    """Return the name under which a trial owns intents and leases."""
    return f"trial/{trial_id}"
