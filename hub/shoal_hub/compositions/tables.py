"""Compositions, and whom they are assigned to."""

from datetime import datetime

from sqlalchemy import JSON, String
from sqlmodel import Field, SQLModel

from shoal_hub.database import UtcDateTime
from shoal_hub.devices.placement_tables import Scope
from shoal_hub.devices.tables import JsonObject


class CompositionRow(SQLModel, table=True):
    """A name under which models are asked together; `version` is what clients see, and rises with each other form."""

    __tablename__ = "compositions"

    name: str = Field(primary_key=True)
    version: int
    form: JsonObject = Field(sa_type=JSON, description="contract Ensemble or Cascade")
    created_by: str
    created_at: datetime = Field(sa_type=UtcDateTime)
    set_by: str
    set_at: datetime = Field(sa_type=UtcDateTime)


class CompositionAssignment(SQLModel, table=True):
    """That the devices of a group, or one device, serve a composition."""

    __tablename__ = "composition_assignments"

    name: str = Field(primary_key=True, foreign_key="compositions.name")
    scope: Scope = Field(primary_key=True, sa_type=String)
    target: str = Field(primary_key=True, index=True, description="the group's name, or the device's id")
    assigned_by: str
    assigned_at: datetime = Field(sa_type=UtcDateTime)
