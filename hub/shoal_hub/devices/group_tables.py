"""Groups of devices: named selections, static or by a query."""

from datetime import datetime
from typing import Literal

from sqlmodel import Field, SQLModel

from shoal_hub.database import UtcDateTime

GroupKind = Literal["static", "dynamic"]


class DeviceGroup(SQLModel, table=True):
    """A group. A static one (`query` is None) is the home of devices, `Device.group`, and lists others besides.

    The members of a dynamic one are the devices that match its query at the time; it is nobody's home.
    """

    __tablename__ = "device_groups"

    name: str = Field(primary_key=True)
    query: str | None = None
    description: str = ""
    created_by: str
    created_at: datetime = Field(sa_type=UtcDateTime)

    @property
    def kind(self) -> GroupKind:
        """Whether a query says who its members are."""
        return "static" if self.query is None else "dynamic"


class GroupDevice(SQLModel, table=True):
    """A device that a static group lists; a revoked one has no row."""

    __tablename__ = "group_devices"

    group: str = Field(primary_key=True, foreign_key="device_groups.name", ondelete="CASCADE")
    device_id: str = Field(primary_key=True, foreign_key="devices.id", index=True)
