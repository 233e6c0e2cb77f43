"""The settings of trainings at the hub: what pipelines of operators may read, run and keep there."""

from pydantic import BaseModel

from shoal_hub.setting import setting as _setting


class TrainingSettings(BaseModel):
    """A part of the hub's settings."""

    training_sources: str = _setting(
        "SHOAL_TRAINING_SOURCES",
        "",
        "list",
        "Where trainings may read, comma-separated: folders of the hub's machine, beginnings of URLs such as "
        "s3://lake/, https://api.example/, kafka://host:9092, mqtt://host:1883, and whole URLs of databases. What is "
        "sent along with a pipeline may always be read.",
    )
    training_secrets: str = _setting(
        "SHOAL_TRAINING_SECRETS",
        "",
        "list",
        "Names of the hub's environment variables from which trainings may take passwords and tokens.",
    )
    training_code: bool = _setting(
        "SHOAL_TRAINING_CODE",
        default=False,
        unit="yes or no",
        description="Run Python that comes with a pipeline (networks, metrics): with all that the hub may do.",
    )
    training_compute: str = _setting(
        "SHOAL_TRAINING_COMPUTE", "local,torchrun", "list", "Launchers that trainings at the hub may name."
    )
    training_sent_bytes: int = _setting(
        "SHOAL_TRAINING_SENT_BYTES", 8 * 2**20, "bytes", "Of the files that are sent along with a pipeline.", ge=0
    )
    training_source_bytes: int = _setting(
        "SHOAL_TRAINING_SOURCE_BYTES", 50 * 2**30, "bytes", "Of the hub's files that one training may read.", ge=0
    )
    training_max_bytes: int = _setting(
        "SHOAL_TRAINING_MAX_BYTES",
        50 * 2**30,
        "bytes",
        "What trainings may keep of their steps and data, to find them again; beyond it the oldest go.",
        ge=0,
    )
