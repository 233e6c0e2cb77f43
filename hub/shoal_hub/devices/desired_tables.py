"""Devices whose desired state has to be composed again: a queue that is written with the intents themselves."""

from typing import Final

from sqlmodel import Field, SQLModel

from shoal_hub.database import UNAUDITED

ENROLLED: Final = "enrolled"
"""The word for the controller that a device has come that has no desired state yet."""


class StaleDesired(SQLModel, table=True):
    """A device whose intents have changed since its desired state was composed."""

    __tablename__ = "stale_desired_states"
    __table_args__ = {"info": UNAUDITED}  # a queue of work, emptied within the second

    device_id: str = Field(primary_key=True, foreign_key="devices.id")
