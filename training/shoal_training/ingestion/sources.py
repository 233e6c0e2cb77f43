"""The kinds of sources by the name that a pipeline file gives them."""

from typing import Annotated, Final

from pydantic import BeforeValidator, SerializeAsAny

from shoal_training.ingestion.features import FeaturesSource
from shoal_training.ingestion.files import FileSource
from shoal_training.ingestion.source import Source
from shoal_training.named_kinds import by_kind

BY_KIND: Final[dict[str, type[Source]]] = {one.kind: one for one in (FileSource, FeaturesSource)}

AnySource = Annotated[SerializeAsAny[Source], BeforeValidator(by_kind("source", BY_KIND, default="files"))]
"""A source with its fields; in a file a mapping whose `kind` names it, `files` without."""
