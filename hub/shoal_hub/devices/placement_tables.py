"""What devices were last told of things that are assigned to groups."""

from typing import Literal

from sqlmodel import Field, SQLModel

from shoal_hub.database import UNAUDITED

Scope = Literal["groups", "devices"]
"""What something is assigned to: a group, whoever is in it at the time, or a device."""


class Placement(SQLModel, table=True):
    """That a device was told something of an owner's; `told` names what, and in which version."""

    __tablename__ = "placements"
    __table_args__ = {"info": UNAUDITED}  # follows from what is assigned, and from who is in a group

    owner: str = Field(primary_key=True)
    device_id: str = Field(primary_key=True, foreign_key="devices.id")
    told: str
