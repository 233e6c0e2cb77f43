"""Jobs for tests: a device that serves the tiny model, tables for it in every form, and what it has to answer."""

import csv
import json
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import anyio
import numpy as np
from numpy.typing import NDArray
from tests.agent.simulators.device import Device, version
from tests.fixtures import tiny

from shoal_agent.batch.job import Job, Watcher, run_job
from shoal_agent.batch.pace import Pace
from shoal_agent.batch.runner import Bounds
from shoal_contract.manifest import VersionManifest
from shoal_contract.processing import ClassesOutput, NumberFeature, Processing, TabularInput

NAMES = ("a", "b", "c", "d")
PROCESSING = Processing(
    inputs={"x": TabularInput(features=tuple(NumberFeature(name=name, mean=1.0, std=2.0) for name in NAMES))},
    outputs={"probabilities": ClassesOutput()},
)
Table = dict[str, NDArray[Any]]


def manifest(number: int = 1) -> VersionManifest:
    """The tiny model's version that says how its input is made of columns a to d."""
    return version(number).model_copy(update={"processing": PROCESSING})


def deploy(data: Path, *versions: VersionManifest) -> Path:
    """Have a device stage, activate and commit versions, one after the other; return its folder."""

    async def converge() -> None:
        device = Device(data)
        for place, one in enumerate(versions or (manifest(),), 1):
            await device.converge(device.publish(one, f"dp-{place}"), (1, place))
        await device.server.aclose()

    anyio.run(converge)
    return data


def table(rows: int, seed: int = 0) -> Table:
    """Columns a to d and an id."""
    random = np.random.default_rng(seed)
    numbers = {name: random.normal(1.0, 2.0, rows).round(6) for name in NAMES}
    return {"id": np.array([f"id-{row}" for row in range(rows)], dtype=np.object_), **numbers}


def labels(columns: Mapping[str, NDArray[Any]]) -> list[str]:
    """What the tiny model answers to a table, by its plain definition."""
    x = (np.stack([columns[name] for name in NAMES], axis=1) - 1.0) / 2.0
    return ["abc"[place] for place in tiny.probabilities(x.astype(np.float32)).argmax(axis=1)]


def records(columns: Table) -> list[dict[str, Any]]:
    """Return a table row by row."""
    lists = {name: column.tolist() for name, column in columns.items()}
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def write_csv(path: Path, columns: Table) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        writer.writerows(records(columns))
    return path


def write_json(path: Path, columns: Table) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records(columns)))
    return path


def write_parquet(path: Path, columns: Table, group_rows: int = 100) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(
        pa.table({name: column.tolist() for name, column in columns.items()}), path, row_group_size=group_rows
    )
    return path


def write_avro(path: Path, columns: Table, block_bytes: int = 2000) -> Path:
    import fastavro

    fields = [{"name": name, "type": "string" if name == "id" else ["null", "double"]} for name in columns]
    schema = {"type": "record", "name": "row", "fields": fields}
    with path.open("wb") as file:
        fastavro.writer(file, fastavro.parse_schema(schema), records(columns), sync_interval=block_bytes)
    return path


WRITERS: dict[str, Callable[[Path, Table], Path]] = {
    ".csv": write_csv,
    ".jsonl": write_json,
    ".parquet": write_parquet,
    ".avro": write_avro,
}


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of an output or of rejects."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return rows
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    return [json.loads(line) for line in path.read_text().splitlines()]


def free_pace(**fields: Any) -> Pace:
    """A pace that lets a job work always."""
    return Pace(**{"stop": threading.Event(), "local_now": lambda: datetime.now(timezone.utc), **fields})


def job_of(data: Path, output: Path, *inputs: Path | str, **fields: Any) -> Job:
    """A job on the tiny model, with small parts."""
    named = tuple(map(str, inputs))
    rejects = output.with_name(f"{output.name}.rejects.jsonl")
    return Job(**{
        "data": data, "model": "tiny", "inputs": named, "output": output, "rejects": rejects,
        "bounds": Bounds(part_rows=50), "batch_size": 16, **fields,
    })  # fmt: skip


def run(job: Job, pace: Pace | None = None, **fields: Any) -> dict[str, Any]:
    """Do a job that nobody watches."""
    watcher = Watcher(lambda _: None, fields.pop("progress", lambda _: None), fields.pop("tell", lambda _: None))
    return run_job(job, pace or free_pace(), watcher, **fields)
