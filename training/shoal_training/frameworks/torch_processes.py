"""The processes of torchrun that train one network together, over gloo or nccl."""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from shoal_training.frameworks.engine import Processes

if TYPE_CHECKING:
    import torch


class TorchProcesses(Processes):
    """Those of torch.distributed, once it is set up; otherwise this one alone."""

    def __init__(self, device: "torch.device") -> None:
        from torch import distributed

        self._device = device
        self._is_set_up = distributed.is_available() and distributed.is_initialized()
        if self._is_set_up:
            self.rank, self.count = distributed.get_rank(), distributed.get_world_size()

    def sums(self, *values: float) -> tuple[float, ...]:
        """See `Processes`."""
        if not self._is_set_up:
            return values
        import torch
        from torch import distributed

        found = torch.tensor(values, dtype=torch.float64, device=self._device)
        distributed.all_reduce(found)
        return tuple(found.tolist())

    def wait(self) -> None:
        """See `Processes`."""
        self.sums(0.0)  # a barrier of nccl would have to be told the device

    def wrapped(self, network: "torch.nn.Module") -> "torch.nn.Module":
        """Return the network so that gradients are averaged over all processes."""
        if not self._is_set_up:
            return network
        from torch.nn.parallel import DistributedDataParallel

        devices = [self._device] if self._device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=devices)

    def apart(self, wrapped: Any) -> AbstractContextManager[None]:  # noqa: ANN401 - of `wrapped`
        """Let gradients inside be this process's own: they are averaged by the last batch of a step."""
        return wrapped.no_sync() if self._is_set_up else nullcontext()


def chosen_device(asked: str) -> "torch.device":
    """Return the device; of several processes on a machine each gets a GPU of its own."""
    import torch

    if asked == "cpu" or (asked == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    place = int(os.environ.get("LOCAL_RANK", "0"))
    return torch.device("cuda", place % max(1, torch.cuda.device_count()))
