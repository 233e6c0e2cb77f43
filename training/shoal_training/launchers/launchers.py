"""The launchers by the name that a pipeline file gives them."""

from typing import Annotated, Final

from pydantic import BeforeValidator, SerializeAsAny

from shoal_training.launchers.kubernetes import Kubernetes
from shoal_training.launchers.launcher import Launcher, Local
from shoal_training.launchers.ray import Ray
from shoal_training.launchers.torchrun import Torchrun
from shoal_training.named_kinds import by_kind

BY_KIND: Final[dict[str, type[Launcher]]] = {one.kind: one for one in (Local, Torchrun, Ray, Kubernetes)}

AnyLauncher = Annotated[SerializeAsAny[Launcher], BeforeValidator(by_kind("launcher", BY_KIND, field="launcher"))]
"""A launcher with its fields; in a file a mapping whose `launcher` names it, or the name alone."""
