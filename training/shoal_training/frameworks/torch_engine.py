"""A network in training by PyTorch: one step, or a part of it, at a time."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from shoal_training.errors import DataError
from shoal_training.frameworks.engine import Engine, LossSum
from shoal_training.frameworks.network_trainer import NetworkTrainer, Precision
from shoal_training.frameworks.schedule import Optimizer
from shoal_training.frameworks.torch_processes import TorchProcesses
from shoal_training.frameworks.trainer import Samples
from shoal_training.onnx_samples import Array

if TYPE_CHECKING:
    import torch

_MEASURED_AT_ONCE: Final = 1024
_NETWORK, _OPTIMIZER, _SCALER = "network.", "optimizer.", "scaler."
_LARGEST_SHARE: Final = 0.5
"""Of a GPU's free memory that samples may take; larger ones go there batch by batch."""


class TorchEngine(Engine):
    """See `Engine`.

    Args:
        network: To (n, outputs), on the CPU.
        trainer: Says how it is trained.
        learned: Samples to learn from.
        measured: Samples by name, to measure on.
        device: Where it is trained.
        seed: Of order and dropout.
    """

    def __init__(
        self,
        network: "torch.nn.Module",
        trainer: NetworkTrainer,
        learned: Samples,
        measured: Mapping[str, Samples],
        device: "torch.device",
        seed: int,
    ) -> None:
        import torch
        from torch.utils.data import DistributedSampler

        self._torch, self._trainer, self._device, self._seed = torch, trainer, device, seed
        self.processes: TorchProcesses = TorchProcesses(device)
        self.network = network.to(device)
        self._wrapped = self.processes.wrapped(self.network)
        self.precision = _precision(trainer, device)
        self._optimizer = _optimizer(trainer.optimizer, self.network)
        self._scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "float16")
        self._learned = self._tensors(learned)
        self._measured = {name: self._tensors(samples) for name, samples in measured.items()}
        self._sampler: Any = DistributedSampler(
            range(len(learned)),  # type: ignore[arg-type]  # only its length counts
            num_replicas=self.processes.count,
            rank=self.processes.rank,
            seed=seed,
        )
        self._loss = self._loss_of(self._learned[1])
        self._total = torch.zeros((), device=device)
        self._weight = 0.0

    def order(self, epoch: int) -> Any:  # noqa: ANN401 - see `Engine`
        """See `Engine`."""
        self._sampler.set_epoch(epoch)
        return self._torch.as_tensor(list(self._sampler), device=self._learned[0].device)

    def begin(self, epoch: int, step: int) -> None:
        """See `Engine`."""
        drawn = np.random.SeedSequence([self._seed, epoch, step, self.processes.rank]).generate_state(1)
        self._torch.manual_seed(int(drawn[0]))
        self.network.train()

    def step(self, rows: Any, rate: float) -> None:  # noqa: ANN401 - see `Engine`
        """See `Engine`."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        weight = self._learned[2]
        total = float(len(rows)) if weight is None else float(weight[rows].sum())
        parts = self._parts(rows)
        for part in parts[:-1]:
            with self.processes.apart(self._wrapped):
                self._backward(part, total)
        self._backward(parts[-1], total)
        if self._trainer.clip_norm is not None:
            self._scaler.unscale_(self._optimizer)
            self._torch.nn.utils.clip_grad_norm_(self.network.parameters(), self._trainer.clip_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        self._weight += total

    def loss(self) -> LossSum:
        """See `Engine`."""
        found = LossSum(float(self._total), self._weight)
        self._total, self._weight = self._torch.zeros((), device=self._device), 0.0
        return found

    def measured(self, name: str) -> dict[str, float]:
        """See `Engine`: each process measures a part."""
        x, y, weight = self._measured[name]
        torch = self._torch
        rows = torch.arange(self.processes.rank, len(x), self.processes.count, device=x.device)
        sums = self._torch.zeros(3, dtype=self._torch.float64, device=self._device)
        self.network.eval()
        with self._torch.no_grad():
            for part in torch.split(rows, _MEASURED_AT_ONCE):
                given, truth = self._there(x[part]), self._there(y[part])
                with self._computing():
                    found = self.network(given).float()
                counted = None if weight is None else self._there(weight[part])
                losses = self._loss(found, truth, counted)
                sums[0] += losses.sum()
                sums[1] += len(part) if counted is None else counted.sum()
                sums[2] += (found.argmax(dim=1) == truth).sum() if found.shape[1] > 1 else 0
        self.network.train()
        loss, weighed, right = self.processes.sums(*sums.tolist())
        told = {"loss": LossSum(loss, weighed).mean}
        return told | ({"accuracy": right / len(x)} if y.dtype == self._torch.int64 else {})

    def weights(self) -> dict[str, Array]:
        """See `Engine`."""
        return {name: _array(tensor) for name, tensor in self.network.state_dict().items()}

    def set_weights(self, weights: dict[str, Array]) -> None:
        """See `Engine`."""
        self.network.load_state_dict({name: self._torch.from_numpy(one.copy()) for name, one in weights.items()})

    def state(self) -> dict[str, Array]:
        """See `Engine`."""
        found = {f"{_NETWORK}{name}": one for name, one in self.weights().items()}
        for place, values in self._optimizer.state_dict()["state"].items():
            found |= {f"{_OPTIMIZER}{place}.{key}": _array(one) for key, one in values.items() if one is not None}
        return found | {f"{_SCALER}{key}": np.asarray(one) for key, one in self._scaler.state_dict().items()}

    def set_state(self, state: dict[str, Array]) -> None:
        """See `Engine`."""
        self.set_weights(_below(state, _NETWORK))
        moments: dict[int, dict[str, Any]] = {}
        for name, one in _below(state, _OPTIMIZER).items():
            place, _, key = name.partition(".")
            moments.setdefault(int(place), {})[key] = self._torch.from_numpy(one.copy())
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})
        scales = {key: one.item() for key, one in _below(state, _SCALER).items()}
        if scales:
            self._scaler.load_state_dict(scales)

    def _backward(self, part: Any, total: float) -> None:  # noqa: ANN401 - a tensor of rows
        x, y, weight = self._learned
        with self._computing():
            found = self._wrapped(self._there(x[part]))
        counted = None if weight is None else self._there(weight[part])
        loss = self._loss(found.float(), self._there(y[part]), counted).sum()
        self._scaler.scale(loss / total).backward()
        self._total += loss.detach()

    def _parts(self, rows: Any) -> list[Any]:  # noqa: ANN401 - tensors of rows
        """Return the batches of a step; a single row at the end goes with those before it, for norms over a batch."""
        size = self._trainer.batch
        if len(rows) <= size:
            return [rows]
        parts = list(rows.split(size))
        if len(parts[-1]) == 1:
            parts[-2:] = [self._torch.cat(parts[-2:])]
        return parts

    def _computing(self) -> AbstractContextManager[Any]:
        if self.precision == "float32":
            return nullcontext()
        return self._torch.autocast(self._device.type, getattr(self._torch, self.precision))

    def _there(self, tensor: Any) -> Any:  # noqa: ANN401 - tensors
        return tensor if tensor.device == self._device else tensor.to(self._device, non_blocking=True)

    def _tensors(self, samples: Samples) -> tuple[Any, Any, Any]:
        tensors = [None if one is None else self._torch.from_numpy(_writable(one)) for one in samples]
        if self._device.type == "cuda":
            free = self._torch.cuda.mem_get_info(self._device)[0]
            if sum(one.nbytes for one in tensors if one is not None) < free * _LARGEST_SHARE:
                tensors = [None if one is None else one.to(self._device) for one in tensors]
        x, y, weight = tensors
        return x, y, weight

    def _loss_of(self, y: Any) -> Any:  # noqa: ANN401 - a function of tensors
        """Return what gives weighted losses that are to be summed, of (n, outputs), (n,) and (n,) or None."""
        functional = self._torch.nn.functional
        smoothing, kind = self._trainer.label_smoothing, self._trainer.regression_loss
        if y.dtype == self._torch.int64:

            def one(found: Any, truth: Any, reduction: str) -> Any:  # noqa: ANN401 - tensors
                return functional.cross_entropy(found, truth, reduction=reduction, label_smoothing=smoothing)
        else:
            losses: dict[str, Any] = {"absolute": functional.l1_loss, "huber": functional.smooth_l1_loss}
            measure = losses.get(kind, functional.mse_loss)

            def one(found: Any, truth: Any, reduction: str) -> Any:  # noqa: ANN401 - tensors
                return measure(found[:, 0], truth, reduction=reduction)

        def weighted(found: Any, truth: Any, weight: Any) -> Any:  # noqa: ANN401 - tensors
            return one(found, truth, "sum") if weight is None else one(found, truth, "none") * weight

        return weighted


def _precision(trainer: NetworkTrainer, device: "torch.device") -> Precision:
    import torch

    if trainer.precision != "auto":
        if trainer.precision == "float16" and device.type == "cpu":
            raise DataError("training with float16 on a CPU: it is for GPUs; name bfloat16, or leave `precision` out")
        return trainer.precision
    if device.type == "cpu":
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


def _optimizer(settings: Optimizer, network: "torch.nn.Module") -> "torch.optim.Optimizer":
    from torch import optim

    learned, rate = [one for one in network.parameters() if one.requires_grad], settings.learning_rate
    match settings.name:
        case "adamw":
            return optim.AdamW(learned, lr=rate, weight_decay=settings.weight_decay)
        case "adam":
            return optim.Adam(learned, lr=rate)
        case "sgd":
            return optim.SGD(learned, lr=rate, momentum=settings.momentum)
        case _:
            return optim.RMSprop(learned, lr=rate)


def _array(tensor: Any) -> Array:  # noqa: ANN401 - a tensor
    """Return a copy, in float32 where NumPy has no such numbers."""
    here = tensor.detach().cpu()
    return np.array((here.float() if str(here.dtype) == "torch.bfloat16" else here).numpy())


def _writable(array: Array) -> Array:
    """Return an array that a tensor may share: PyTorch warns of those that are read-only."""
    return array if array.flags.writeable else array.copy()


def _below(state: dict[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): one for name, one in state.items() if name.startswith(prefix)}
