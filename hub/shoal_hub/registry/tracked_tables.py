"""What clients of MLflow's API know of models and versions, besides what the registry has of what devices serve."""

from sqlalchemy import BigInteger, String, Text
from sqlmodel import Field, SQLModel

from shoal_hub.registry.tables import Stage


class TrackedModel(SQLModel, table=True):
    """A model as such clients call it."""

    __tablename__ = "tracked_models"

    model: str = Field(primary_key=True, foreign_key="models.name")
    name: str = Field(unique=True, description="free text; the registry's own names are narrower")
    is_hidden: bool = Field(default=False, description="deleted by a client; what devices may run is kept all the same")
    created_ms: int = Field(sa_type=BigInteger)
    updated_ms: int = Field(sa_type=BigInteger)


class TrackedVersion(SQLModel, table=True):
    """A version that such a client has made, or changed; its number is one of the model's, whether devices serve it.

    `is_served` says that the registry has a version of this number, whose stage counts; of the others this row's does.
    """

    __tablename__ = "tracked_versions"

    model: str = Field(primary_key=True, foreign_key="models.name")
    number: int = Field(primary_key=True)
    is_served: bool
    stage: Stage = Field(default="none", sa_type=String)
    reason: str = Field(default="", sa_type=Text, description="why no device can serve it")
    source: str = Field(default="", sa_type=Text, description="the URI that its files came from")
    artifact_uri: str = Field(default="", sa_type=Text, description="where they are")
    run: str = ""
    run_link: str = Field(default="", sa_type=Text)
    logged_model: str = ""
    description: str = Field(default="", sa_type=Text)
    is_hidden: bool = False
    created_by: str
    created_ms: int = Field(sa_type=BigInteger)
    updated_ms: int = Field(sa_type=BigInteger)
