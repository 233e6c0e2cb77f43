"""The settings of batch inference at the hub: what it may reach there, and how often schedules are looked at."""

from pydantic import BaseModel

from shoal_hub.setting import setting as _setting


class InferenceSettings(BaseModel):
    """A part of the hub's settings."""

    inference_places: str = _setting(
        "SHOAL_INFERENCE_PLACES",
        "",
        "list",
        "Where batch inference may read and write, comma-separated: folders of the hub's machine, beginnings of URLs "
        "such as s3://lake/, https://api.example/, kafka://host:9092, mqtt://host:1883, and whole URLs of databases. "
        "Relative paths lie below batch-inference/files in the data folder, which is always allowed.",
    )
    inference_secrets: str = _setting(
        "SHOAL_INFERENCE_SECRETS",
        "",
        "list",
        "Names of the hub's environment variables from which batch inference may take passwords and tokens.",
    )
    inference_engines: str = _setting(
        "SHOAL_INFERENCE_ENGINES", "local", "list", "Engines that batch inference at the hub may name: local, ray."
    )
    inference_look_s: float = _setting(
        "SHOAL_INFERENCE_LOOK_S", 10.0, "s", "Between two looks at the schedules of batch inference.", gt=0, le=3600
    )
    inference_max_bytes: int = _setting(
        "SHOAL_INFERENCE_MAX_BYTES",
        50 * 2**30,
        "bytes",
        "What runs of batch inference that have not ended well may keep of their rows, to be gone on with; beyond it "
        "the oldest go.",
        ge=0,
    )
