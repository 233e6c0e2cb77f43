"""A trial's encrypted candidate whose key is for another encryption key: the hub is told which one this device has."""

from pathlib import Path

from tests.agent.trials.conftest import trial
from tests.simulators.agent_process import AgentProcess
from tests.simulators.hub import HubStandIn, hub_stand_in

from shoal_agent.encryption_key import load_or_make_encryption_key, new_encryption_key
from shoal_contract.encryption import KeyUse, wrap_key
from shoal_contract.telemetry import EncryptionKeyReplaced


def told_keys(hub: HubStandIn) -> set[str]:
    return {one.body.encryption_key for one in hub.events if isinstance(one.body, EncryptionKeyReplaced)}


def test_a_hub_that_wraps_a_candidate_for_another_key_is_told_this_device_s_own(tmp_path: Path) -> None:
    with hub_stand_in(tmp_path / "broker") as hub:
        agent = AgentProcess(tmp_path / "data", is_quick=True)
        hub.enrol(agent.data / "identity")
        former = new_encryption_key(hub.device_id).private.public_key()
        key = wrap_key(b"\x11" * 32, former, KeyUse(hub.device_id, "tiny", 2))
        candidate = trial().candidate.model_copy(update={"key": key})
        try:
            agent.start()
            hub.want({}, trials={"tiny": trial(candidate=candidate)})
            hub.wait_until(lambda seen: bool(told_keys(seen)))
        finally:
            agent.close()
        own = load_or_make_encryption_key(agent.data / "identity", hub.device_id)
        assert told_keys(hub) == {own.public_hex}
