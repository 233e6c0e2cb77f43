"""Real agents, each a process with its own data folder, runtime and endpoint."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.simulators.agent_process import AgentProcess
from tests.simulators.kills.evidence import DiskFacts
from tests.simulators.kills.plan import Kill

from shoal_agent.enrol import enrol
from shoal_agent.slots import known_models

_PROGRAM = "tests.simulators.kills.journalling_agent"


class AgentFleet:
    """Some agents, enrolled one token each.

    Args:
        hub_url: The hub's address.
        tokens: As many as there are agents.
        data: The folder of their data folders.
    """

    PARTS = ("agent", "agent", "agent")
    """What can be killed, as often as the parts of a hub taken together."""

    def __init__(self, hub_url: str, tokens: Sequence[str], data: Path) -> None:
        self._agents = [AgentProcess(data / f"agent-{index}", program=_PROGRAM) for index in range(len(tokens))]
        for agent, token in zip(self._agents, tokens, strict=True):
            agent.device_id = enrol(agent.data / "identity", hub_url, token, agent.data.name).device_id
            agent.begin()
        self.wait_until_whole()
        self.ids = [agent.device_id for agent in self._agents]

    def kill(self, kill: Kill) -> bool:
        """Kill an agent; return whether it ran."""
        agent = self._agents[kill.device]
        if not agent.is_running:
            return False
        agent.kill()
        return True

    def begin_again(self) -> None:
        """Start the agents that do not run."""
        for agent in self._agents:
            if not agent.is_running:
                agent.begin()

    def wait_until_whole(self) -> None:
        """Wait until every agent answers."""
        for agent in self._agents:
            agent.wait_until_live()

    def disks(self) -> dict[str, DiskFacts]:
        """Read the disks, by device."""
        return {
            agent.device_id: DiskFacts.read(agent.data / "models", agent.data / "roles.jsonl") for agent in self._agents
        }

    def serving(self) -> Counter[str]:
        """Ask each agent's endpoint about each model."""
        found: Counter[str] = Counter()
        for agent in self._agents:
            for model in known_models(agent.data / "models"):
                version = agent.serves(model)
                found.update([f"{model}/{version}"] if version is not None else [])
        return found

    def power_cuts(self) -> int:
        """None: a process has no power of its own."""
        return 0

    def close(self) -> None:
        """Leave nothing running."""
        for agent in self._agents:
            agent.close()
