"""Flower's `Grid` over the fleet: the one file that knows Flower's message types.

A strategy's training message becomes a round (`RoundExchange.play`), a device's answer becomes its reply. Flower
1.41 asks `TaskIdentity`, which is private, who sends a message; it is set here and nowhere else.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from shoal_hub.errors import JobError
from shoal_hub.federation.rounds import Answer, Weights

Play = Callable[[int, Weights, Sequence[str]], list[Answer]]
"""Plays a round: (number, weights, device ids) to the answers that came in time."""
ARRAYS: Final = "arrays"
METRICS: Final = "metrics"
ROUND_KEY: Final = "server-round"
WEIGHT_KEY: Final = "num-examples"
_HUB_NODE: Final = 1
_WHOLE_ROUNDS: Final = "use a strategy that speaks to the grid by send_and_receive alone, as those of flwr.serverapp do"


class FleetGrid(Grid):  # type: ignore[misc]  # Flower has no types that mypy takes
    """The devices of one run as Flower nodes.

    Args:
        devices: Their ids; each is one node.
        play: Plays a round over the fleet.
        min_devices: A round with fewer trained devices ends the run.
        first_round: Added to the strategy's own count, so that a restarted run goes on where it was.
    """

    def __init__(self, devices: Sequence[str], play: Play, min_devices: int, first_round: int = 0) -> None:
        TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = _HUB_NODE
        self._device_of = dict(enumerate(sorted(devices), start=_HUB_NODE + 1))
        self._play = play
        self._min_devices = min_devices
        self._first_round = first_round

    def get_node_ids(self) -> Iterable[int]:
        """Return one node id a device."""
        return list(self._device_of)

    def send_and_receive(
        self,
        messages: Iterable[Message],
        *,
        timeout: float | None = None,  # noqa: ARG002 - the interface's
    ) -> Iterable[Message]:
        """Play one round with the devices that are addressed; its deadline is the run's, not `timeout`.

        Raises:
            JobError: Fewer devices trained than the run needs.
        """
        sent = {self._device_of[message.metadata.dst_node_id]: message for message in messages}
        if not sent:
            return []
        content = next(iter(sent.values())).content
        number = self._first_round + int(content["config"][ROUND_KEY])
        weights = to_weights(content[ARRAYS])
        answers = self._play(number, weights, sorted(sent))
        if len(answers) < self._min_devices:
            raise JobError(
                f"round {number}: {len(answers)} of {len(sent)} devices trained, at least {self._min_devices} wanted",
                "see `shoal federated show` for why devices did not train; lower --min-devices or add datasets",
            )
        return [_reply(sent[answer.device_id], answer) for answer in answers]

    def set_run(self, run: Run) -> None:  # noqa: ARG002 - the interface's
        """Refuse: a run of the fleet is the hub's own."""
        raise JobError("a Shoal run has no Flower run behind it", _WHOLE_ROUNDS)

    @property
    def run(self) -> Run:
        """Refuse: a run of the fleet is the hub's own."""
        raise JobError("a Shoal run has no Flower run behind it", _WHOLE_ROUNDS)

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Make a message to one device."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:  # noqa: ARG002 - the interface's
        """Refuse: a round is whole; use `send_and_receive`."""
        raise JobError("the fleet plays whole rounds, no single messages", _WHOLE_ROUNDS)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:  # noqa: ARG002 - the interface's
        """Refuse: a round is whole; use `send_and_receive`."""
        raise JobError("the fleet plays whole rounds, no single messages", _WHOLE_ROUNDS)


def to_weights(arrays: ArrayRecord) -> Weights:
    """Return float32 tensors in their order."""
    return list(arrays.to_numpy_ndarrays())


def to_arrays(weights: Weights) -> ArrayRecord:
    """Return tensors as Flower carries them."""
    return ArrayRecord(weights)


def _reply(to: Message, answer: Answer) -> Message:
    metrics = {WEIGHT_KEY: answer.examples, "loss-before": answer.loss_before, "loss-after": answer.loss_after}
    return Message(RecordDict({ARRAYS: to_arrays(answer.weights), METRICS: MetricRecord(metrics)}), reply_to=to)
