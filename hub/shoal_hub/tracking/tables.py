"""Experiments, runs, what they logged, the models that they made, and the files of all these.

Times that clients tell, or search by, are kept as they tell them: whole milliseconds since 1970, in columns in `_ms`.
What a run logs while it trains is telemetry: the audit trail tells of the run, not of each value.
"""

from datetime import datetime
from typing import Final, Literal

from sqlalchemy import BigInteger, String, Text
from sqlmodel import Field, SQLModel

from shoal_hub.database import SECRET, UNAUDITED, UtcDateTime

Lifecycle = Literal["active", "deleted"]
RunStatus = Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]
ModelStatus = Literal["LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED"]
TagKind = Literal["experiment", "run", "model", "version", "logged_model"]
InputKind = Literal["dataset", "model_input", "model_output"]
DEFAULT_EXPERIMENT: Final = "0"
"""Its id: where runs go that name no experiment. It is made with the tables, and stays."""
NO_MODEL: Final = ""
"""Of a metric that was logged of no model in particular."""


class Experiment(SQLModel, table=True):
    """A named set of runs."""

    __tablename__ = "experiments"

    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    artifact_location: str = Field(description="the URI under which files of its runs go")
    lifecycle: Lifecycle = Field(default="active", sa_type=String)
    created_by: str
    created_ms: int = Field(sa_type=BigInteger)
    updated_ms: int = Field(sa_type=BigInteger)


class TrackedRun(SQLModel, table=True):
    """One run of a training: who, when, and how it ended."""

    __tablename__ = "tracked_runs"

    id: str = Field(primary_key=True, description="32 hexadecimal digits, as MLflow's tools expect them")
    experiment: str = Field(foreign_key="experiments.id", index=True)
    name: str
    status: RunStatus = Field(sa_type=String)
    lifecycle: Lifecycle = Field(default="active", sa_type=String)
    user_name: str = Field(description="as the client says; who may write is in `created_by`")
    started_ms: int = Field(sa_type=BigInteger, index=True)
    ended_ms: int | None = Field(default=None, sa_type=BigInteger)
    artifact_uri: str
    created_by: str


class TrackingTag(SQLModel, table=True):
    """A changeable word about a thing; `owner` is its id, of a version its model and number with a slash between."""

    __tablename__ = "tracking_tags"

    kind: TagKind = Field(primary_key=True, sa_type=String)
    owner: str = Field(primary_key=True)
    key: str = Field(primary_key=True, sa_type=Text)
    value: str = Field(sa_type=Text)


class TrackingParam(SQLModel, table=True):
    """A setting of a run or of a logged model: said once, never changed."""

    __tablename__ = "tracking_params"
    __table_args__ = {"info": UNAUDITED}

    owner: str = Field(primary_key=True, description="a run, or a logged model")
    key: str = Field(primary_key=True, sa_type=Text)
    value: str = Field(sa_type=Text)


class TrackedMetric(SQLModel, table=True):
    """One value of a metric at a step; the same one again, as after a lost answer, is the same row."""

    __tablename__ = "tracked_metrics"
    __table_args__ = {"info": UNAUDITED}

    run: str = Field(primary_key=True, foreign_key="tracked_runs.id", ondelete="CASCADE")
    key: str = Field(primary_key=True, sa_type=Text)
    step: int = Field(primary_key=True, sa_type=BigInteger)
    at_ms: int = Field(primary_key=True, sa_type=BigInteger)
    value: float = Field(primary_key=True, description="0 where `is_nan`: databases keep no NaN in a key")
    is_nan: bool = Field(primary_key=True)
    model: str = Field(default=NO_MODEL, primary_key=True, index=True, description="the logged model that it is of")
    dataset_name: str = ""
    dataset_digest: str = ""


class LatestMetric(SQLModel, table=True):
    """The value of a metric at its last step, of a run or of a logged model: what searches compare."""

    __tablename__ = "latest_metrics"
    __table_args__ = {"info": UNAUDITED}

    owner: str = Field(primary_key=True)
    key: str = Field(primary_key=True, sa_type=Text)
    value: float
    is_nan: bool
    step: int = Field(sa_type=BigInteger)
    at_ms: int = Field(sa_type=BigInteger)


class Dataset(SQLModel, table=True):
    """Data that runs were given, as the client describes it."""

    __tablename__ = "tracked_datasets"
    __table_args__ = {"info": UNAUDITED}

    id: str = Field(primary_key=True, description="SHA-256 over experiment, name and digest")
    experiment: str = Field(foreign_key="experiments.id")
    name: str
    digest: str
    source_type: str
    source: str = Field(sa_type=Text)
    schema_text: str = Field(sa_type=Text)
    profile: str = Field(sa_type=Text)


class RunInput(SQLModel, table=True):
    """What went into a run, or came out of it: a data set, or a logged model."""

    __tablename__ = "run_inputs"
    __table_args__ = {"info": UNAUDITED}

    run: str = Field(primary_key=True, foreign_key="tracked_runs.id", ondelete="CASCADE")
    kind: InputKind = Field(primary_key=True, sa_type=String)
    target: str = Field(primary_key=True, index=True)
    step: int = Field(default=0, sa_type=BigInteger)
    context: str = Field(default="", description="what a data set was for, like `training`")


class LoggedModel(SQLModel, table=True):
    """A model that a run has logged, before anybody registers it."""

    __tablename__ = "logged_models"

    id: str = Field(primary_key=True, description="m- and 32 hexadecimal digits")
    experiment: str = Field(foreign_key="experiments.id", index=True)
    name: str
    artifact_uri: str
    status: ModelStatus = Field(default="LOGGED_MODEL_PENDING", sa_type=String)
    model_type: str = ""
    run: str = Field(default="", index=True, description="that made it; empty: none is known")
    lifecycle: Lifecycle = Field(default="active", sa_type=String)
    created_by: str
    created_ms: int = Field(sa_type=BigInteger)
    updated_ms: int = Field(sa_type=BigInteger)


class TrackedFile(SQLModel, table=True):
    """A file of a run or a logged model: a path among the hub's artifacts, and which bytes are there."""

    __tablename__ = "tracked_files"

    path: str = Field(primary_key=True, sa_type=Text)
    sha256: str = Field(index=True)
    size_bytes: int = Field(sa_type=BigInteger)
    created_by: str
    created_at: datetime = Field(sa_type=UtcDateTime)


class PartedUpload(SQLModel, table=True):
    """A file that comes in parts, each sent by whoever has the upload's secret."""

    __tablename__ = "parted_uploads"

    id: str = Field(primary_key=True)
    path: str = Field(sa_type=Text)
    parts: int
    secret_sha256: str = Field(sa_column_kwargs={"info": SECRET})
    created_by: str
    created_at: datetime = Field(sa_type=UtcDateTime)


class UploadedPart(SQLModel, table=True):
    """A part that has come."""

    __tablename__ = "uploaded_parts"
    __table_args__ = {"info": UNAUDITED}

    upload: str = Field(primary_key=True, foreign_key="parted_uploads.id", ondelete="CASCADE")
    number: int = Field(primary_key=True)
    sha256: str = Field(index=True)
    size_bytes: int = Field(sa_type=BigInteger)
