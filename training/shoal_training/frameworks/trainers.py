"""The frameworks by the name that a pipeline file gives them."""

from typing import Annotated, Final

from pydantic import BeforeValidator, SerializeAsAny

from shoal_training.frameworks.keras_trainer import Keras
from shoal_training.frameworks.scikit_learn import ScikitLearn
from shoal_training.frameworks.torch_trainer import Torch
from shoal_training.frameworks.trainer import Trainer
from shoal_training.frameworks.xgboost_trees import XGBoost
from shoal_training.named_kinds import by_kind

BY_NAME: Final[dict[str, type[Trainer]]] = {one.framework: one for one in (Torch, Keras, ScikitLearn, XGBoost)}

AnyTrainer = Annotated[SerializeAsAny[Trainer], BeforeValidator(by_kind("framework", BY_NAME, field="framework"))]
"""A trainer with its fields; in a file a mapping whose `framework` names it."""
