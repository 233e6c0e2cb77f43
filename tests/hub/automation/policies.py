"""Policies as the tests of automation state them."""

from typing import Any

from shoal_hub.automation.policy import Policy

DRIFT = {"kind": "drift", "rule": "plain", "min_devices": 1}
LEARN = [{"kind": "federated", "rounds": 2, "min_devices": 1}, {"kind": "recompress"}]
TELL = {"kind": "notify", "text": "look at this"}


def body(**changes: Any) -> dict[str, Any]:
    """Return the body of a policy that trains on the devices, compresses and rolls out when inputs have drifted."""
    plain = {
        "name": "learn",
        "model": "digits",
        "when": DRIFT,
        "then": [*LEARN, {"kind": "roll_out", "waves": [1, 2]}, TELL],
        "guards": {"cool_down_s": 3600, "budget": {"runs": 2}},
    }
    return plain | changes


def policy(**changes: Any) -> Policy:
    return Policy.model_validate(body(**changes))
