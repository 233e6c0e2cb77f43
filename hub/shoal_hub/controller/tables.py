"""The number of the controller that is in charge."""

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel


class ControllerFence(SQLModel, table=True):
    """One row: raised by each controller that is elected, checked in each transaction of a controller."""

    __tablename__ = "controller_fences"

    id: int = Field(default=1, primary_key=True)
    number: int = Field(default=0, sa_type=BigInteger)
