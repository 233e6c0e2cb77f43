"""`shoal features views|define|forget|put|get`: the hub's online store of entities' latest features."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from shoal_client import ClientError
from shoal_client.online_features import OnlineEntity, OnlineView, Written
from shoal_hub.cli.connection import connect
from shoal_hub.cli.object_file import read_object
from shoal_hub.cli.output import AsJson, console, errors, facts, show, table

View = Annotated[str, typer.Argument(metavar="VIEW", help="Name of the view.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands to those of `shoal features`."""
    app.command("views", epilog="Example: shoal features views")(list_views)
    app.command(epilog="Example: shoal features define rides rides.yaml")(define)
    app.command(epilog="Example: shoal features forget rides")(forget)
    app.command(epilog="Example: shoal features put rides rides.parquet --entity driver --time event_time")(put)
    app.command(epilog="Example: shoal features get rides driver-7 driver-9 --feature fare")(get)


def list_views(as_json: AsJson = False) -> None:
    """List the views of the online store by name, and which features each has."""
    with connect() as client:
        found = client.online_features.list()
    rows = [(one.name, sorted(one.view["features"]), one.set_by, one.set_at) for one in found]
    show(
        found,
        as_json=as_json,
        draw=lambda: table(("VIEW", "FEATURES", "BY", "SET"), rows, empty="No view yet: shoal features define"),
    )


def define(
    view: View,
    file: Annotated[Path, typer.Argument(help="JSON, .yaml or .toml with the features; - for stdin.")],
    definition: Annotated[
        str, typer.Option(help="The file defines what is computed, of a device or a stream: the view is of this one.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Make a view of the online store, or change its features; values of those that it keeps stay."""
    body = read_object(file, "feature-store")
    if definition:
        body = _of_definition(file, body, definition)
    with connect() as client:
        found = client.online_features.define(view, body)
    show(found, as_json=as_json, draw=lambda: _draw(found))


def forget(view: View, as_json: AsJson = False) -> None:
    """Forget a view of the online store, with all its values."""
    with connect() as client:
        found = client.online_features.forget(view)
    show(found, as_json=as_json, draw=lambda: console.print(f"view {found.name} is no more"))


def put(
    view: View,
    file: Annotated[Path, typer.Argument(help="Rows: .parquet, .csv, or lines of JSON.", exists=True, dir_okay=False)],
    entity: Annotated[str, typer.Option(help="The column with the entity's key.")] = "entity",
    time: Annotated[str, typer.Option(help="The column with the time that values are of; none: now.")] = "",
    as_json: AsJson = False,
) -> None:
    """Keep rows as their entities' latest values; one that is older than what is held changes nothing."""
    with connect() as client:
        known = set(client.online_features.show(view).view["features"])
        found = client.online_features.put(view, _rows(file, entity, time, known))
    show(found, as_json=as_json, draw=lambda: _told(found))


def get(
    view: View,
    entity: Annotated[list[str], typer.Argument(metavar="ENTITY...", help="Keys of entities.")],
    feature: Annotated[list[str] | None, typer.Option(help="Of these features only; may be repeated.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the latest features of entities, how old they are, and where a fallback stands for them."""
    with connect() as client:
        found = client.online_features.get(view, entity, feature or ())
    columns = ("ENTITY", "FEATURE", "VALUE", "AGE", "STATE")
    show(found, as_json=as_json, draw=lambda: table(columns, list(_cells(found)), empty="No feature."))


def _of_definition(file: Path, body: Mapping[str, Any], name: str) -> dict[str, Any]:
    defined = body.get("definitions", {})
    if name not in defined:
        known = ", ".join(sorted(defined)) or "none"
        raise ClientError(f"reading {file}: there is no definition {name}, only {known}", "name one of them")
    return {"features": defined[name].get("features", {})}


def _rows(file: Path, entity: str, time: str, features: set[str]) -> Iterator[dict[str, Any]]:
    now = datetime.now(UTC)
    for number, row in enumerate(_read(file), 1):
        if row.get(entity) is None or (time and row.get(time) is None):
            missing = entity if row.get(entity) is None else time
            raise ClientError(
                f"reading row {number} of {file}: there is no {missing}", "name the column, or fill it in"
            )
        at = row[time] if time else now
        if isinstance(at, datetime) and at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        yield {
            "entity": str(row[entity]),
            "at": at,
            "values": {name: value for name, value in row.items() if name in features},
        }


def _read(file: Path) -> Iterable[dict[str, Any]]:
    if file.suffix == ".parquet":
        import pyarrow.parquet as pq

        with pq.ParquetFile(file) as opened:
            for batch in opened.iter_batches(10_000):
                yield from batch.to_pylist()
        return
    with file.open(newline="") as lines:
        if file.suffix == ".csv":
            for row in csv.DictReader(lines):
                yield {name: _number(value) for name, value in row.items()}
            return
        for number, line in enumerate(lines, 1):
            try:
                found = json.loads(line)
            except ValueError as error:
                raise ClientError(
                    f"reading line {number} of {file}: {error}", "give one object of JSON a line"
                ) from error
            yield found


def _number(text: str) -> float | str | None:
    try:
        return float(text)
    except ValueError:
        return text or None


def _told(found: Written) -> None:
    older = found.rows - found.kept
    console.print(f"{found.kept} rows are the latest now" + (f", {older} are older than what is held" if older else ""))


def _draw(found: OnlineView) -> None:
    facts([("view", found.name), ("set by", found.set_by)])
    features = sorted(found.view["features"].items())
    rows = [(name, one["aggregate"], f"{one['ttl_s']:g} s", one["fallback"]) for name, one in features]
    table(("FEATURE", "AGGREGATE", "GOOD FOR", "FALLBACK"), rows, empty="")
    errors.print(f"Give it values: shoal features put {found.name}")


def _cells(found: Iterable[OnlineEntity]) -> Iterator[tuple[object, ...]]:
    for one in found:
        for name, value in sorted(one.features.items()):
            state = "fresh" if value.is_fresh else "fallback" if value.is_fallback else "none"
            age = "" if value.age_s is None else f"{value.age_s:.0f} s"
            yield (one.entity, name, "" if value.value is None else value.value, age, state)
