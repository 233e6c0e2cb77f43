"""Requests that a simulated device's model answers, so that gates and drift have something to go by.

The model runs on inputs drawn from the training data's histograms, and the agent's own monitor counts the answers. That
some requests get an error is drawn: with a probability that differs by device, and by version where one does harm.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import anyio
import numpy as np
from anyio import to_thread
from numpy.typing import NDArray

from shoal_agent.engines import Array, EngineError, golden_inputs
from shoal_agent.monitor import Monitor
from shoal_agent.serving import ModelServer, ServedModel
from shoal_contract.manifest import FeatureBaseline, VersionManifest
from shoal_numerics import STATISTICS
from shoal_numerics.tensors import NUMPY_TYPES

STEP_S: Final = 1.0
"""Requests of so long are made at once."""


@dataclass(frozen=True)
class TrafficPlan:
    """What the devices of a simulation are asked.

    Attributes:
        requests_per_s: Of each model of a device, on average; 0 for none.
        error_rate: Share of the requests that get an error, on the middle device, above 0 and below 1.
        device_sd: Standard deviation of the devices' own error rates, in logits.
        harms: What a version adds to the error rate, by its number; it may be below 0.
    """

    requests_per_s: float = 0.0
    error_rate: float = 0.02
    device_sd: float = 0.3
    harms: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for version, harm in {0: 0.0, **self.harms}.items():
            if not 0 < self.error_rate + harm < 1:
                msg = f"error rate {self.error_rate} and {harm} more for version {version}: between 0 and 1 expected"
                raise ValueError(msg)
        if self.requests_per_s < 0 or self.device_sd < 0:
            msg = f"{self.requests_per_s} requests a second, deviation {self.device_sd}: neither may be below 0"
            raise ValueError(msg)


class Sampler:
    """Draws inputs like those of the training data: each feature by its histogram, apart from the others.

    Where the features are statistics, the values are normal with the mean and the deviation that were drawn. Inputs
    that are not watched are those of the golden input.

    Args:
        manifest: Has the histograms and the inputs.
    """

    def __init__(self, manifest: VersionManifest) -> None:
        features = manifest.baseline.features
        self._are_statistics = manifest.baseline.features_of == "statistics"
        self._inputs = manifest.inputs
        watched = manifest.baseline.inputs or [spec.name for spec in manifest.inputs]
        golden = golden_inputs(manifest) if manifest.baseline.inputs else {}
        rows = slice(1) if manifest.is_batched else ...
        self._unwatched = {name: array[rows] for name, array in golden.items() if name not in watched}
        shape = (len(features), max(len(one.counts) for one in features))
        self._up_to = np.ones(shape)
        self._left, self._right = np.zeros(shape), np.zeros(shape)
        for row, one in enumerate(features):
            counts = np.array(one.counts, dtype=np.float64)
            shares = counts / counts.sum() if counts.sum() else np.full(len(counts), 1 / len(counts))
            self._up_to[row, : len(counts) - 1] = shares.cumsum()[:-1]
            self._left[row, : len(counts)], self._right[row, : len(counts)] = _bins(one)

    def draw(self, chance: np.random.Generator) -> dict[str, Array]:
        """Return one sample's inputs by name, each of its manifest's shape with 1 for any size, and its datatype."""
        rows = np.arange(len(self._up_to))
        bins = (chance.random((len(rows), 1)) >= self._up_to[:, :-1]).sum(axis=1)
        features = chance.uniform(self._left[rows, bins], self._right[rows, bins])
        inputs: dict[str, Array] = {}
        at = 0
        for spec in self._inputs:
            if spec.name in self._unwatched:
                inputs[spec.name] = self._unwatched[spec.name]
                continue
            shape = tuple(max(size, 1) for size in spec.shape)
            size = len(STATISTICS) if self._are_statistics else math.prod(shape)
            values = features[at : at + size]
            if self._are_statistics:
                mean, deviation = values[:2]
                values = chance.normal(mean, abs(deviation), math.prod(shape))
            inputs[spec.name] = values.reshape(shape).astype(NUMPY_TYPES[spec.datatype])
            at += size
        return inputs


class Traffic:
    """The requests of one device.

    Args:
        plan: What devices are asked.
        seed: Of the whole simulation.
        index: The device's number in it.
        samplers: Of the versions that devices serve, by their manifests' hashes; shared by all.
    """

    def __init__(self, plan: TrafficPlan, seed: int, index: int, samplers: dict[str, Sampler]) -> None:
        self._plan = plan
        self._samplers = samplers
        self._chance = np.random.default_rng([seed, index])
        self._own_logit = plan.device_sd * float(self._chance.standard_normal())

    @property
    def is_any(self) -> bool:
        """Whether the device is asked anything."""
        return self._plan.requests_per_s > 0

    async def run(self, server: ModelServer, monitor: Monitor) -> None:
        """Ask what the device serves until cancelled, and have the answers counted."""
        while True:
            await anyio.sleep(STEP_S)
            for name in server.names():
                with server.borrow(name) as served:
                    if served is not None:
                        await to_thread.run_sync(partial(self._ask, served, monitor))

    def error_rate(self, version: int) -> float:
        """Return the share of this device's requests to a version that get an error."""
        rate = self._plan.error_rate + self._plan.harms.get(version, 0.0)
        return 1 / (1 + math.exp(-(math.log(rate / (1 - rate)) + self._own_logit)))

    def _ask(self, served: ServedModel, monitor: Monitor) -> None:
        requests = int(self._chance.poisson(self._plan.requests_per_s * STEP_S))
        errors = int(self._chance.binomial(requests, self.error_rate(served.version)))
        for _ in range(errors):
            monitor.observe_error(served)
        sampler = self._samplers.get(served.manifest_sha256)
        if sampler is None:
            sampler = self._samplers[served.manifest_sha256] = Sampler(served.manifest)
        for number in range(requests - errors):
            inputs = sampler.draw(self._chance)
            began_s = time.perf_counter()
            try:
                outputs = served.engine.infer(inputs)
            except EngineError:
                monitor.observe_error(served)  # as the endpoint does
                continue
            monitor.observe(served, inputs, outputs, 1000 * (time.perf_counter() - began_s), str(number))


def _bins(feature: FeatureBaseline) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where each bin begins and ends; the outer ones, which have no end, go on for a tenth of the rest."""
    if not feature.edges:
        return np.zeros(1), np.zeros(1)
    edges = np.array(feature.edges)
    margin = 0.1 * (edges[-1] - edges[0]) or 1.0
    return np.r_[edges[0] - margin, edges], np.r_[edges, edges[-1] + margin]
