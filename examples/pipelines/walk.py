"""The way of one pipeline: trained, registered, compressed, rolled out, and asked on the agents for what it was taught.

Each step goes through the product's own interfaces: the training program, the hub's API, the agents' own endpoints.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from examples.first_light.fleet import Agent, Fleet
from examples.first_light.watching import bars, follow_lines, rolled_out
from rich.console import Console

from shoal_client import ShoalClient
from shoal_client.compression import CompressionChoice
from shoal_client.profile import read_profile
from shoal_training.bundle import ONNX_FILE, read_bundle
from shoal_training.onnx_samples import Array
from shoal_training.pipeline import steps
from shoal_training.pipeline.record import RunRecord
from shoal_training.transforms.joined_graph import SCORES

AGENTS: Final = ("kitchen", "garden")
MAX_DROP_POINTS: Final = 1.0
"""That a chosen file may lose on the devices."""
ROWS_AT_ONCE: Final = 16
"""Of a request to an agent."""
RECIPES: Final[Mapping[str, tuple[str, ...]]] = {
    "digit_images": ("int8-onnx", "float16"),
    "motion": ("int8-litert", "int8-onnx"),
    "progression": ("tree-onnx",),
    "odd_cells": ("tree-onnx",),
}
"""By pipeline; devices measure what comes of them, and the smallest file that loses little is chosen."""


@dataclass
class Came:
    """What a pipeline came to."""

    model: str
    version: int
    metric: str
    trained: float
    """The metric of the trained model on the rows that were held out."""
    recipe: str
    target: str
    bytes_before: int
    bytes_after: int
    on_agents: dict[str, float] = field(default_factory=dict)
    """The same metric, of what each agent answers."""
    agreement: dict[str, float] = field(default_factory=dict)
    """Share (0..1) of the rows for which an agent says what the trained model says."""
    rows: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class HeldOut:
    """Rows that were held out, and what the trained model says of them."""

    task: str
    inputs: Mapping[str, Array]
    truth: Array
    scores: Array
    threshold: float

    def measure(self, scores: Array) -> float:
        """Return accuracy, or of an anomaly the area under the ROC curve."""
        if self.task == "anomaly":
            from sklearn.metrics import roc_auc_score

            return float(roc_auc_score(self.truth, scores))
        return float((scores.argmax(axis=1) == self.truth).mean())

    def said(self, scores: Array) -> Array:
        """Return the class of each row, or of an anomaly whether it is an alarm."""
        return scores > self.threshold if self.task == "anomaly" else scores.argmax(axis=1)


class Walk:
    """Takes pipelines the whole way, in one fleet.

    Args:
        fleet: Whose hub and agents run.
        client: Of that hub.
        console: For progress.
    """

    def __init__(self, fleet: Fleet, client: ShoalClient, console: Console) -> None:
        self.fleet, self.client, self.console = fleet, client, console
        self.store = fleet.folder / "store"
        """Of results, which all runs share."""

    def go(self, file: Path, recipes: tuple[str, ...]) -> Came:
        """Take a pipeline file the whole way.

        Raises:
            RuntimeError: A step of it fails, or nothing smaller could be chosen.
        """
        seconds: dict[str, float] = {}
        with _timed(seconds, "train"):
            run = self.train(file)
            number = self.client.models.register_bundle(Path(run.bundle)).number
        return self.serve(run, number, recipes, seconds)

    def serve(
        self, run: RunRecord, version: int, recipes: tuple[str, ...], seconds: dict[str, float] | None = None
    ) -> Came:
        """Compress a registered version, roll it out, and ask each agent for the rows that were held out.

        Args:
            run: That trained it; its results lie in `store`.
            version: Its number.
            recipes: To compress by.
            seconds: What earlier steps took.

        Raises:
            RuntimeError: As above.
        """
        seconds = {} if seconds is None else seconds
        with _timed(seconds, "compress"):
            choice = self.compress(run.pipeline, version, recipes)
        with _timed(seconds, "roll out"):
            devices = [one.device_id for one in self.fleet.agents]
            rolled_out(self.console, self.client, run.pipeline, version, devices, (1,) * len(devices))
        held = held_out(run, self.store)
        sizes = {one.name: one.measures.size_bytes for one in choice.candidates}
        came = Came(
            model=run.pipeline,
            version=version,
            metric="auc_roc" if held.task == "anomaly" else "accuracy",
            trained=held.measure(held.scores),
            recipe=choice.chosen or "",
            target=choice.target or "",
            bytes_before=sizes["source"],
            bytes_after=sizes[choice.chosen or ""],
            rows=len(held.truth),
            seconds=seconds,
        )
        with _timed(seconds, "ask"):
            for agent in self.fleet.agents:
                scores = asked(agent, run.pipeline, held.inputs)
                came.on_agents[agent.name] = held.measure(scores)
                came.agreement[agent.name] = float((held.said(scores) == held.said(held.scores)).mean())
        return came

    def train(self, file: Path) -> RunRecord:
        """Run a pipeline file in a process of its own.

        Raises:
            RuntimeError: It fails.
        """
        out = self.fleet.folder / "bundles" / f"{file.parent.name}-{time.time_ns()}"
        out.parent.mkdir(exist_ok=True)
        told = self.fleet.follow("shoal_training.pipeline", str(file), "--out", str(out), "--store", str(self.store))
        return RunRecord.model_validate(follow_lines(self.console, "starting", told)["result"])

    def compress(self, model: str, version: int, recipes: tuple[str, ...]) -> CompressionChoice:
        """Make files by recipes, have an agent measure them, and register the smallest that loses little."""
        begun = self.client.compression.start(
            model, str(version), recipes=recipes, prefer="size", max_drop=MAX_DROP_POINTS, max_load=None
        )
        with bars(self.console) as progress:
            task = progress.add_task("compressing", total=None)
            run = self.client.compression.wait(
                begun.id, lambda now: progress.update(task, description=f"{now.state}: {now.progress}")
            )
        [choice] = run.choices
        if choice.chosen in {None, "source"}:
            why = {**run.refused, **choice.left_out}
            raise RuntimeError(f"compressing {model}: {choice.chosen or 'nothing'} was chosen: {choice.reason} {why}")
        return choice


@contextmanager
def started(fleet: Fleet) -> Iterator[Walk]:
    """Start a fleet's hub and agents, and give what takes pipelines through it.

    Raises:
        RuntimeError: A process does not start.
    """
    with fleet.start_hub() as client:
        url = read_profile(fleet.folder / "profile.json").url
        for name in AGENTS:
            fleet.add_agent(name, "", client.tokens.create(label=name).token, url)
        fleet.wait_for_agents()
        fleet.wait_for_reports(client)
        yield Walk(fleet, client, Console(stderr=True))


def held_out(run: RunRecord, store: Path) -> HeldOut:
    """Return what a run has held out, with what its model says of it."""
    keys = {one.name: one.key for one in run.steps}
    prepared = store / "steps" / keys["prepare"]
    about = steps.read_about(prepared)
    inputs = steps.read_arrays(prepared / steps.HELD_FILE, about.inputs)
    truth = steps.read_truth(prepared / steps.HELD_FILE)
    assert truth is not None
    [scores] = steps.run_graph(Path(run.bundle) / ONNX_FILE, inputs, SCORES)
    threshold = float(read_bundle(Path(run.bundle)).parameters.get("anomaly_threshold", 0.0))
    return HeldOut("classification" if about.labels else "anomaly", inputs, truth, scores, threshold)


def asked(agent: Agent, model: str, inputs: Mapping[str, Array]) -> Array:
    """Return what an agent answers to rows, in order, at its own endpoint: the model's first output."""
    count = len(next(iter(inputs.values())))
    answers = []
    for start in range(0, count, ROWS_AT_ONCE):
        part = {name: array[start : start + ROWS_AT_ONCE] for name, array in inputs.items()}
        tensors = [
            {"name": name, "datatype": "FP32", "shape": list(array.shape), "data": array.ravel().tolist()}
            for name, array in part.items()
        ]
        output = agent.ask(f"/v2/models/{model}/infer", {"inputs": tensors})["outputs"][0]
        answers.append(np.array(output["data"], dtype=np.float32).reshape(output["shape"]))
    return np.concatenate(answers)


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    started_s = time.perf_counter()
    yield
    seconds[step] = round(time.perf_counter() - started_s, 1)
