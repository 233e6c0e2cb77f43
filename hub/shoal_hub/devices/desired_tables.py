"""Devices whose desired state has to be composed again: a queue that is written with the intents themselves."""

from sqlmodel import Field, SQLModel


class StaleDesired(SQLModel, table=True):
    """A device whose intents have changed since its desired state was composed."""

    __tablename__ = "stale_desired_states"

    device_id: str = Field(primary_key=True, foreign_key="devices.id")
