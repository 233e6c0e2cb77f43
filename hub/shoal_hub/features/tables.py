"""Feature sets, their versions, and whom they are assigned to."""

from datetime import datetime

from sqlalchemy import JSON, String
from sqlmodel import Field, SQLModel

from shoal_hub.database import UtcDateTime
from shoal_hub.devices.placement_tables import Scope
from shoal_hub.devices.tables import JsonObject


class FeatureSet(SQLModel, table=True):
    """A name for what is computed; its newest version is the one that devices get."""

    __tablename__ = "feature_sets"

    name: str = Field(primary_key=True)
    version: int = Field(description="the newest")
    created_by: str
    created_at: datetime = Field(sa_type=UtcDateTime)


class FeatureSetVersion(SQLModel, table=True):
    """Definitions and pipelines as they were set at one time; never changed."""

    __tablename__ = "feature_set_versions"

    name: str = Field(primary_key=True, foreign_key="feature_sets.name", ondelete="CASCADE")
    number: int = Field(primary_key=True)
    body: JsonObject = Field(sa_type=JSON)
    set_by: str
    set_at: datetime = Field(sa_type=UtcDateTime)


class FeatureAssignment(SQLModel, table=True):
    """That the devices of a group, or one device, compute a set."""

    __tablename__ = "feature_assignments"

    name: str = Field(primary_key=True, foreign_key="feature_sets.name")
    scope: Scope = Field(primary_key=True, sa_type=String)
    target: str = Field(primary_key=True, index=True, description="the group's name, or the device's id")
    assigned_by: str
    assigned_at: datetime = Field(sa_type=UtcDateTime)
