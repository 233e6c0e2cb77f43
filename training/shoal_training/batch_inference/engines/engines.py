"""The engines by the name that a file gives them."""

from typing import Annotated, Final

from pydantic import BeforeValidator, SerializeAsAny

from shoal_training.batch_inference.engines.engine import Engine
from shoal_training.batch_inference.engines.local import LocalEngine
from shoal_training.batch_inference.engines.ray_tasks import RayEngine
from shoal_training.named_kinds import by_kind

BY_KIND: Final[dict[str, type[Engine]]] = {one.kind: one for one in (LocalEngine, RayEngine)}

AnyEngine = Annotated[SerializeAsAny[Engine], BeforeValidator(by_kind("engine", BY_KIND))]
"""An engine with its fields; in a file a mapping whose `kind` names it, or the name alone."""
