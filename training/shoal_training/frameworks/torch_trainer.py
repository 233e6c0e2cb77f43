"""Networks trained by PyTorch, alone or in several processes, written as ONNX by its own exporter."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from shoal_training.errors import ExportError, NetworkError
from shoal_training.frameworks.layers import activations_of, parameters_of
from shoal_training.frameworks.libraries import of_extra
from shoal_training.frameworks.memory import check_room, network_bytes
from shoal_training.frameworks.network_trainer import NetworkJob, NetworkTrainer
from shoal_training.frameworks.torch_engine import TorchEngine
from shoal_training.frameworks.torch_networks import build_torch, check_output, scored
from shoal_training.frameworks.torch_processes import chosen_device
from shoal_training.frameworks.trainer import Fitted
from shoal_training.frameworks.training_loop import TrainingLoop
from shoal_training.onnx_samples import Array

if TYPE_CHECKING:
    import torch

OPSET: Final = 18
"""The exporter's oldest."""
_ASKED_AT_ONCE: Final = 1024


class Torch(NetworkTrainer):
    """A network of PyTorch."""

    framework: ClassVar[str] = "torch"
    is_distributed: ClassVar[bool] = True

    def _fit(self, job: NetworkJob) -> Fitted:
        with of_extra("torch", "training with PyTorch"):
            import torch
        device = chosen_device(self.device)
        if device.type == "cuda" and not torch.cuda.is_available():
            raise NetworkError("training on a GPU: PyTorch finds none; set `device: auto`, or install it with CUDA")
        context = job.context
        with _apart(context.threads, device):
            torch.manual_seed(context.seed)
            self._check_room(job, device)
            network = build_torch(self.network, context.sources, job.shape, job.outputs)
            if not any(one.requires_grad for one in network.parameters()):
                raise NetworkError(f"training {self.described()}: it has nothing to learn; give it layers with weights")
            check_output(network, self.described(), job.shape, job.outputs)
            engine = TorchEngine(network, self, job.learned, job.measured, device, context.seed)
            facts = TrainingLoop(engine, job.plan, context).run()
        parameters = sum(one.numel() for one in network.parameters())
        facts |= {"parameters": parameters, "device": device.type, "precision": engine.precision}
        mean = job.mean if context.task == "regression" else None
        return FittedTorch(scored(network, mean, job.deviation).cpu().eval(), job.shape, facts)

    def _check_room(self, job: NetworkJob, device: "torch.device") -> None:
        """See that the network fits, on a GPU or as far as its own code lets itself be asked without memory."""
        import torch

        layers, batch = self.network.layers(job.shape, job.outputs), min(self.batch, len(job.learned))
        if layers is not None:
            needed = network_bytes(parameters_of(layers), activations_of(layers), batch)
        else:
            with torch.device("meta"):
                try:
                    built = build_torch(self.network, job.context.sources, job.shape, job.outputs)
                except NetworkError:
                    return  # built for good, it says what is wrong, or needs values that this device has not
            needed = network_bytes(sum(one.numel() for one in built.parameters()), 0, batch)
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
        if layers is None or device.type == "cuda":
            check_room(needed, f"training {self.described()}", free)


class FittedTorch(Fitted):
    """A trained network on the CPU, from `x` to `scores`."""

    def __init__(self, network: "torch.nn.Module", shape: tuple[int, ...], facts: dict[str, Any]) -> None:
        self.network, self._shape, self.facts = network, shape, facts

    def scores(self, x: Array) -> Array:
        """See `Fitted`."""
        import torch

        given = torch.from_numpy(np.array(x, dtype=np.float32))
        with torch.inference_mode():
            found = [self.network(part) for part in torch.split(given, _ASKED_AT_ONCE)]
        return np.asarray(torch.cat(found).numpy(), dtype=np.float32)

    def graph(self) -> Any:  # noqa: ANN401 - see `Fitted`
        """See `Fitted`."""
        import torch

        from shoal_compression.quieting import quiet

        example = torch.zeros((2, *self._shape))
        batch = torch.export.Dim("batch", min=1)
        try:
            with quiet():
                exported: Any = torch.onnx.export(
                    self.network,
                    (example,),
                    dynamo=True,
                    opset_version=OPSET,
                    verbose=False,
                    input_names=["x"],
                    output_names=["scores"],
                    dynamic_shapes=({0: batch},),
                )
        except Exception as error:  # the exporter's errors share no base class
            said = (str(error).strip() or repr(error)).splitlines()[0][:500]
            raise ExportError(f"writing a network of PyTorch as ONNX: {said}; replace that layer") from error
        model = exported.model_proto
        for node in model.graph.node:
            del node.metadata_props[:]  # where in whose source it came from
        return model


@contextmanager
def _apart(threads: int | None, device: "torch.device") -> Iterator[None]:
    """Keep what is drawn inside, and the number of threads, from the rest of the process."""
    import torch

    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            if threads is not None:
                torch.set_num_threads(threads)
            yield
        finally:
            torch.set_num_threads(before)
