"""Sites, and the devices of each. A device is in none unless somebody puts it there, and in one at most."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON
from sqlmodel import Field, SQLModel

from shoal_hub.database import UtcDateTime


class Site(SQLModel, table=True):
    """A LAN on which one device, the cache, serves artifacts to the others, its members."""

    __tablename__ = "sites"

    name: str = Field(primary_key=True)
    cache_id: str = Field(foreign_key="devices.id")
    host: str = Field(description="where members reach the cache on their LAN")
    port: int
    handover: dict[str, Any] | None = Field(
        default=None,
        sa_type=JSON(none_as_null=True),
        description="Handover; none: each answers its own requests",
    )
    created_by: str
    created_at: datetime = Field(sa_type=UtcDateTime)


class SiteDevice(SQLModel, table=True):
    """A device of a site, its cache among them; a revoked device has no row, so a site may be without a cache."""

    __tablename__ = "site_devices"

    device_id: str = Field(primary_key=True, foreign_key="devices.id")
    site: str = Field(foreign_key="sites.name", index=True, ondelete="CASCADE")
