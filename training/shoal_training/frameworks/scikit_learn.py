"""Models of scikit-learn, written as ONNX by skl2onnx."""

import warnings
from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from typing import Any, ClassVar, Final

import numpy as np
from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_training.errors import DataError, ExportError
from shoal_training.frameworks.checked_samples import check_samples
from shoal_training.frameworks.class_weights import ClassWeights, row_weights
from shoal_training.frameworks.graphs import with_scores
from shoal_training.frameworks.isolation_graph import isolation_graph
from shoal_training.frameworks.libraries import of_extra
from shoal_training.frameworks.memory import check_room, says_memory
from shoal_training.frameworks.trainer import Fitted, Samples, Task, TrainContext, Trainer
from shoal_training.onnx_samples import Array

ALGORITHMS: Final[Mapping[str, tuple[str, str, Task]]] = {
    "logistic_regression": ("sklearn.linear_model", "LogisticRegression", "classification"),
    "random_forest": ("sklearn.ensemble", "RandomForestClassifier", "classification"),
    "extra_trees": ("sklearn.ensemble", "ExtraTreesClassifier", "classification"),
    "gradient_boosting": ("sklearn.ensemble", "GradientBoostingClassifier", "classification"),
    "k_neighbours": ("sklearn.neighbors", "KNeighborsClassifier", "classification"),
    "multilayer_perceptron": ("sklearn.neural_network", "MLPClassifier", "classification"),
    "decision_tree": ("sklearn.tree", "DecisionTreeClassifier", "classification"),
    "naive_bayes": ("sklearn.naive_bayes", "GaussianNB", "classification"),
    "linear_discriminant": ("sklearn.discriminant_analysis", "LinearDiscriminantAnalysis", "classification"),
    "linear_regression": ("sklearn.linear_model", "LinearRegression", "regression"),
    "ridge": ("sklearn.linear_model", "Ridge", "regression"),
    "lasso": ("sklearn.linear_model", "Lasso", "regression"),
    "elastic_net": ("sklearn.linear_model", "ElasticNet", "regression"),
    "support_vector_regression": ("sklearn.svm", "SVR", "regression"),
    "decision_tree_regression": ("sklearn.tree", "DecisionTreeRegressor", "regression"),
    "extra_trees_regression": ("sklearn.ensemble", "ExtraTreesRegressor", "regression"),
    "k_neighbours_regression": ("sklearn.neighbors", "KNeighborsRegressor", "regression"),
    "multilayer_perceptron_regression": ("sklearn.neural_network", "MLPRegressor", "regression"),
    "random_forest_regression": ("sklearn.ensemble", "RandomForestRegressor", "regression"),
    "gradient_boosting_regression": ("sklearn.ensemble", "GradientBoostingRegressor", "regression"),
    "isolation_forest": ("sklearn.ensemble", "IsolationForest", "anomaly"),
    "one_class_svm": ("sklearn.svm", "OneClassSVM", "anomaly"),
}
"""By name: the module, the class and what it learns; those whose ONNX form says the same. Of HistGradientBoosting,
skl2onnx 1.20 writes none that onnx 1.23 takes."""
OPSET: Final = 17
"""Of the graphs; with version 3 of `ai.onnx.ml`."""
_COPIES: Final = 3
"""Of the samples, in float64 where an estimator wants them so."""


class ScikitLearn(Trainer):
    """An estimator of scikit-learn."""

    framework: ClassVar[str] = "sklearn"
    tasks: ClassVar[frozenset[Task]] = frozenset({"classification", "regression", "anomaly"})
    keeps_checkpoints: ClassVar[bool] = False

    algorithm: str
    parameters: dict[str, Any] = Field(default_factory=dict, max_length=64)
    """Of the estimator, by scikit-learn's names."""
    class_weights: ClassWeights = None

    @model_validator(mode="after")
    def _check_algorithm(self) -> Self:
        if self.algorithm not in ALGORITHMS:
            known = ", ".join(ALGORITHMS)
            raise ValueError(f"no algorithm is called {self.algorithm[:80]!r}; known are {known}")
        return self

    def described(self) -> str:
        """See `Trainer`."""
        return self.algorithm.replace("_", " ")

    def fit(self, train: Samples, held_out: Samples | None, context: TrainContext) -> Fitted:
        """See `Trainer`: at once, or not at all; there is nothing to go on with."""
        with of_extra("train", f"training {self.algorithm}"):
            estimator = self._estimator(context)
        doing = f"training {self.algorithm}"
        check_samples(train, held_out, context, is_flat=True)
        check_room(train.x.nbytes * _COPIES, doing)
        weight = row_weights(train, self.class_weights, context)
        if weight is not None and "sample_weight" not in signature(estimator.fit).parameters:
            raise DataError(
                f"{doing}: it takes no weights of rows or classes; leave them out, or name another algorithm"
            )
        weighted = {} if weight is None else {"sample_weight": weight}
        context.progress("train", 0, 1)
        try:
            with says_memory(doing), warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                estimator.fit(train.x, train.y, **weighted)
        except (TypeError, ValueError) as error:
            raise DataError(f"{doing}: {error}") from error
        context.progress("train", 1, 1)
        facts = {"warnings": sorted({str(one.message)[:300] for one in warned})} if warned else {}
        return FittedEstimator(estimator, context.task, facts)

    def _estimator(self, context: TrainContext) -> Any:  # noqa: ANN401 - scikit-learn has no types
        module, name, task = ALGORITHMS[self.algorithm]
        if task != context.task:
            raise DataError(
                f"training {self.algorithm}: it learns {task}, and the task is {context.task}; name another"
            )
        kind = getattr(import_module(module), name)
        known = kind().get_params()
        unknown = sorted(set(self.parameters) - set(known))
        if unknown:
            raise DataError(
                f"training {self.algorithm}: no parameter {', '.join(unknown)}; {name} has {', '.join(known)}"
            )
        seeded = {"random_state": context.seed} if "random_state" in known else {}
        threads = {"n_jobs": context.threads} if context.threads and "n_jobs" in known else {}
        return kind(**(seeded | threads | self.parameters))


class FittedEstimator(Fitted):
    """A fitted estimator."""

    def __init__(self, estimator: Any, task: Task, facts: dict[str, Any]) -> None:  # noqa: ANN401 - no types
        self._estimator, self._task, self.facts = estimator, task, facts

    def scores(self, x: Array) -> Array:
        """See `Fitted`."""
        if self._task == "classification":
            return np.asarray(self._estimator.predict_proba(x), dtype=np.float32)
        if self._task == "anomaly":
            return -np.asarray(self._estimator.decision_function(x), dtype=np.float32)
        return np.asarray(self._estimator.predict(x), dtype=np.float32)

    def graph(self) -> Any:  # noqa: ANN401 - see `Fitted`
        """See `Fitted`."""
        if type(self._estimator).__name__ == "IsolationForest" and self._estimator.max_samples_ > 1:
            return isolation_graph(self._estimator)
        from skl2onnx import convert_sklearn
        from skl2onnx.common.data_types import FloatTensorType

        shape = [None, int(self._estimator.n_features_in_)]
        options = {id(self._estimator): {"zipmap": False}} if self._task == "classification" else None
        try:
            found = convert_sklearn(
                self._estimator,
                initial_types=[("x", FloatTensorType(shape))],
                options=options,
                target_opset={"": OPSET, "ai.onnx.ml": 3},
            )
        except Exception as error:  # skl2onnx's errors share no base class
            raise ExportError(f"writing {type(self._estimator).__name__} as ONNX: {str(error)[:500]}") from error
        outputs = [one.name for one in found.graph.output]
        if self._task == "classification":
            return with_scores(found, "probabilities")
        return with_scores(found, outputs[-1], is_flat=True, is_negated=self._task == "anomaly")
