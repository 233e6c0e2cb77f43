"""The settings of tracking: what runs may keep at the hub."""

from pydantic import BaseModel

from shoal_hub.setting import setting as _setting


class TrackingSettings(BaseModel):
    """A part of the hub's settings."""

    tracking_max_file_bytes: int = _setting(
        "SHOAL_TRACKING_MAX_FILE_BYTES", 16 * 2**30, "bytes", "Largest file that a run may log at the hub.", ge=2**20
    )
    tracking_max_bytes: int = _setting(
        "SHOAL_TRACKING_MAX_BYTES",
        100 * 2**30,
        "bytes",
        "What files of all runs may take at the hub; beyond it none is taken.",
        ge=0,
    )
