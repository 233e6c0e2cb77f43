"""What views of online features there are; their values are in a store of their own."""

from datetime import datetime

from sqlalchemy import JSON
from sqlmodel import Field, SQLModel

from shoal_hub.database import UtcDateTime
from shoal_hub.devices.tables import JsonObject


class OnlineView(SQLModel, table=True):
    """A view by name, and which features it has."""

    __tablename__ = "online_views"

    name: str = Field(primary_key=True)
    body: JsonObject = Field(sa_type=JSON)
    set_by: str
    set_at: datetime = Field(sa_type=UtcDateTime)
