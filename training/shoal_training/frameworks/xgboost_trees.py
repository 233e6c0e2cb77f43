"""Boosted trees of XGBoost, written as ONNX by onnxmltools."""

import math
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

import numpy as np
from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_compression.values import content_hash
from shoal_training.errors import DataError, ExportError
from shoal_training.frameworks.checked_samples import check_samples
from shoal_training.frameworks.checkpoints import (
    Standing,
    fingerprint,
    held_for_training,
    read_checkpoint,
    write_checkpoint,
)
from shoal_training.frameworks.class_weights import ClassWeights, row_weights
from shoal_training.frameworks.early_stopping import EarlyStopping, parted
from shoal_training.frameworks.graphs import with_scores
from shoal_training.frameworks.libraries import of_extra
from shoal_training.frameworks.memory import check_room, says_memory
from shoal_training.frameworks.trainer import Fitted, Samples, Task, TrainContext, Trainer
from shoal_training.frameworks.training_loop import HELD_OUT, WATCHED
from shoal_training.onnx_samples import Array

OPSET: Final = 15
"""Of the graphs, which need no newer operator."""
_TREES: Final = "trees"
_COPIES: Final = 3
"""Of the samples: as they are given, in XGBoost's matrix, and in bins."""
_OURS: Final = frozenset({"objective", "num_class", "seed", "eta", "learning_rate", "max_depth", "device", "nthread"})
_LOSSES: Final = ("logloss", "mlogloss", "rmse")
_PLACE: Final = re.compile(r"^\[[\d:]+\] \S+: ")
"""The time and the line of source before an error of XGBoost's."""
_ERRORS: Final = ("error", "merror")


class XGBoost(Trainer):
    """Boosted trees."""

    framework: ClassVar[str] = "xgboost"
    tasks: ClassVar[frozenset[Task]] = frozenset({"classification", "regression"})

    rounds: int = Field(default=200, ge=1, le=100_000)
    """Trees of each class, at most."""
    learning_rate: float = Field(default=0.1, gt=0, le=1)
    max_depth: int = Field(default=6, ge=1, le=64)
    parameters: dict[str, str | int | float | bool] = Field(default_factory=dict, max_length=64)
    """Others, by XGBoost's names."""
    class_weights: ClassWeights = None
    device: Literal["cpu", "cuda"] = "cpu"
    checkpoint_rounds: int = Field(default=50, ge=1)
    """Rounds between checkpoints: what a kill costs at most."""
    early_stopping: EarlyStopping | None = None

    @model_validator(mode="after")
    def _check_parameters(self) -> Self:
        taken = sorted(_OURS & set(self.parameters))
        if taken:
            raise ValueError(
                f"`parameters` has {', '.join(taken)}, which have fields of their own or follow from the task"
            )
        return self

    def described(self) -> str:
        """See `Trainer`."""
        return "boosted trees (xgboost)"

    def fit(self, train: Samples, held_out: Samples | None, context: TrainContext) -> Fitted:
        """See `Trainer`."""
        with of_extra("train", "training boosted trees"):
            import xgboost
        check_samples(train, held_out, context, is_flat=True)
        check_room(train.x.nbytes * _COPIES, "training boosted trees")
        parts = {} if held_out is None else {HELD_OUT: held_out}
        learned = train
        if self.early_stopping is not None:
            learned, parts[WATCHED] = parted(train, self.early_stopping, context.seed)
        with says_memory("training boosted trees"), held_for_training(context.folder):
            try:
                rounds = _Rounds(self, context, learned, parts, _training(self, train, context))
                booster = rounds.run()
            except xgboost.core.XGBoostError as error:
                said = _PLACE.sub("", str(error).strip()).splitlines()
                raise DataError(f"training boosted trees: {said[0][:300] if said else 'XGBoost failed'}") from error
        return FittedTrees(booster, context.task, train.x.shape[1], rounds.facts())

    def given(self, context: TrainContext) -> dict[str, Any]:
        """Return the parameters as XGBoost takes them."""
        kind: dict[str, Any] = {"objective": "reg:squarederror", "eval_metric": ["rmse"]}
        if context.task == "classification" and context.classes == 2:  # noqa: PLR2004 - one score says both
            kind = {"objective": "binary:logistic", "eval_metric": ["logloss", "error"]}
        elif context.task == "classification":
            kind = {"objective": "multi:softprob", "num_class": context.classes, "eval_metric": ["mlogloss", "merror"]}
        return {
            "learning_rate": self.learning_rate,
            "max_depth": self.max_depth,
            "device": self.device,
            "validate_parameters": True,
            "verbosity": 0,
            **({} if context.threads is None else {"nthread": context.threads}),
            **self.parameters,
            **kind,
        }


class _Rounds:
    """The rounds of one training."""

    def __init__(
        self, trainer: XGBoost, context: TrainContext, learned: Samples, parts: Mapping[str, Samples], training: str
    ) -> None:
        self._trainer, self._context = trainer, context
        self._matrix = self._of(learned)
        self._parts = {"train": self._matrix} | {name: self._of(samples) for name, samples in parts.items()}
        found = read_checkpoint(context.folder, training)
        self.standing = Standing(training=training) if found is None else found.standing
        self._booster = self._opened(None if found is None else found.arrays[_TREES])
        for name, points in self.standing.history.items():
            for at, value in points:
                context.metric(name, value, at)

    def run(self) -> Any:  # noqa: ANN401 - a Booster
        """Train what is left, and return the trees up to the best round."""
        trainer, stopping = self._trainer, self._trainer.early_stopping
        while not self.standing.is_finished:
            done = self.standing.epoch
            if done >= trainer.rounds or (stopping is not None and self.standing.watch.waited >= stopping.patience):
                if stopping is not None:
                    self._booster = self._booster[: self.standing.watch.best_at]
                self._note(is_finished=True)
                self._write()
                break
            self._booster.update(self._matrix, iteration=done)
            self._measure(done + 1)
            self._context.progress("train", done + 1, trainer.rounds)
            if (done + 1) % trainer.checkpoint_rounds == 0:
                self._booster = self._opened(self._write())
        return self._booster

    def facts(self) -> dict[str, Any]:
        """Return what came of it."""
        stopping, watch = self._trainer.early_stopping, self.standing.watch
        early = {} if stopping is None else {"best_round": watch.best_at, f"best_{stopping.metric}": watch.best}
        return {"rounds": self.standing.epoch, **early}

    def _measure(self, rounds: int) -> None:
        told = self._booster.eval_set([(matrix, name) for name, matrix in self._parts.items()], rounds - 1)
        found: dict[str, float] = {}
        for one in told.split()[1:]:
            name, _, value = one.rpartition(":")
            part, _, metric = name.rpartition("-")
            if metric in _LOSSES:
                loss = float(value)
                found[f"{part}_loss"] = loss**2 if metric == "rmse" else loss
            elif metric in _ERRORS:
                found[f"{part}_accuracy"] = 1.0 - float(value)
        if not all(map(math.isfinite, found.values())):
            raise DataError(f"training boosted trees: {told.strip()} found in round {rounds}; lower the learning rate")
        history = {name: [*self.standing.history.get(name, []), (rounds, value)] for name, value in found.items()}
        watch, stopping = self.standing.watch, self._trainer.early_stopping
        if stopping is not None:
            watch = watch.after(rounds, found[f"{WATCHED}_{stopping.metric}"], stopping)
        self._note(epoch=rounds, history=history, watch=watch)
        for name, value in found.items():
            self._context.metric(name, value, rounds)

    def _of(self, samples: Samples) -> Any:  # noqa: ANN401 - a DMatrix
        import xgboost

        weight = row_weights(samples, self._trainer.class_weights, self._context)
        return xgboost.DMatrix(samples.x, label=samples.y, weight=weight, nthread=self._context.threads)

    def _write(self) -> Array:
        trees = np.frombuffer(bytes(self._booster.save_raw("ubj")), dtype=np.uint8)
        write_checkpoint(self._context.folder, self.standing, {_TREES: trees})
        return trees

    def _opened(self, trees: Array | None) -> Any:  # noqa: ANN401 - a Booster
        """Return a booster that draws by the seed and its number of rounds alone.

        After each checkpoint, not only after a kill: what XGBoost draws from can be neither kept nor put back.
        """
        import xgboost

        drawn = np.random.SeedSequence([self._context.seed, self.standing.epoch]).generate_state(1)
        given = self._trainer.given(self._context) | {"seed": int(drawn[0] >> 1)}
        booster = xgboost.Booster(given, list(self._parts.values()))
        if trees is not None:
            booster.load_model(bytearray(trees.tobytes()))
            # What is only for training is not kept with the trees; metrics are named one by one here.
            named = {name: one if isinstance(one, list) else [one] for name, one in given.items()}
            booster.set_param([(name, one) for name, several in named.items() for one in several])
        return booster

    def _note(self, **changes: Any) -> None:  # noqa: ANN401 - fields of the standing
        self.standing = self.standing.model_copy(update=changes)


class FittedTrees(Fitted):
    """Trained trees."""

    def __init__(self, booster: Any, task: Task, features: int, facts: dict[str, Any]) -> None:  # noqa: ANN401 - no types
        self._booster, self._task, self._features, self.facts = booster, task, features, facts

    def scores(self, x: Array) -> Array:
        """See `Fitted`."""
        import xgboost

        found = self._booster.predict(xgboost.DMatrix(np.asarray(x, dtype=np.float32)))
        if self._task == "classification" and found.ndim == 1:
            found = np.column_stack([1.0 - found, found])
        return np.asarray(found, dtype=np.float32)

    def graph(self) -> Any:  # noqa: ANN401 - see `Fitted`
        """See `Fitted`."""
        from onnxmltools.convert import convert_xgboost
        from onnxmltools.convert.common.data_types import FloatTensorType

        kinds = [("x", FloatTensorType([None, self._features]))]
        try:
            found = convert_xgboost(self._booster, initial_types=kinds, target_opset=OPSET)
        except Exception as error:  # onnxmltools' errors share no base class
            raise ExportError(f"writing boosted trees as ONNX: {str(error)[:500]}") from error
        if self._task == "classification":
            return with_scores(found, "probabilities")
        return with_scores(found, found.graph.output[0].name, is_flat=True)


def _training(trainer: XGBoost, train: Samples, context: TrainContext) -> str:
    fields = trainer.model_dump(mode="json", exclude={"checkpoint_rounds"})
    return content_hash([fields, context.task, context.classes, context.seed, fingerprint(train)])
