"""The number of the controller that is in charge."""

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel

from shoal_hub.database import UNAUDITED


class ControllerFence(SQLModel, table=True):
    """One row: raised by each controller that is elected, checked in each transaction of a controller."""

    __tablename__ = "controller_fences"
    __table_args__ = {"info": UNAUDITED}  # which process is in charge: the same hub, with the same keys

    id: int = Field(default=1, primary_key=True)
    number: int = Field(default=0, sa_type=BigInteger)
