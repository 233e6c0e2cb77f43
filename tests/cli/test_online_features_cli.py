"""`shoal features define|put|get|stream|recompute` against a real hub and a real broker."""

import json
import os
import signal
import threading
from pathlib import Path

import pytest
import yaml
from tests.cli.conftest import Shoal
from tests.simulators.plain_broker import plain_broker
from tests.training.feature_store.clicks import DAY_S, DEFINITIONS, START_S

from shoal_numerics.features.events import Arrival
from shoal_training.feature_store.mqtt import MqttBroker, MqttEvents, MqttResults


def value(shoal: Shoal, view: str, entity: str, feature: str) -> object:
    return json.loads(shoal("features", "get", view, entity, "--json").out)[0]["features"][feature]["value"]


def test_values_are_put_and_read_by_commands(shoal: Shoal, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    assert "No view yet" in shoal("features", "views").out
    file = tmp_path / "rides.yaml"
    file.write_text("features: {fare: {fallback: 7.5}, city: {}}\n")
    assert "86400 s" in shoal("features", "define", "rides", str(file)).out
    (tmp_path / "rows.jsonl").write_text('{"entity": "u1", "fare": 3.5, "city": "Bern", "more": 1}\n')
    assert "1 rows are the latest now" in shoal("features", "put", "rides", str(tmp_path / "rows.jsonl")).out
    table = pa.table({"user": [1, 2], "at": pa.array([1, 2], pa.timestamp("s")), "fare": [1.0, 2.0]})
    pq.write_table(table, tmp_path / "old.parquet")
    (tmp_path / "rows.csv").write_text("entity,fare,city\nu3,4,\n")
    told = shoal("features", "put", "rides", str(tmp_path / "old.parquet"), "--entity", "user", "--time", "at").out
    assert "2 rows are the latest now" in told
    assert shoal("features", "put", "rides", str(tmp_path / "rows.csv")).status == 0
    shown = shoal("features", "get", "rides", "u1", "1").out
    assert ("Bern" in shown, "fallback" in shown, "7.5" in shown) == (True, True, True)
    assert value(shoal, "rides", "u3", "fare") == 4
    (tmp_path / "wrong.jsonl").write_text('{"fare": 1}\n')
    assert "row 1 of" in shoal("features", "put", "rides", str(tmp_path / "wrong.jsonl")).err
    assert "no more" in shoal("features", "forget", "rides").out


def test_a_stream_fills_the_online_store_and_a_recomputation_replaces_it(
    shoal: Shoal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with plain_broker(tmp_path) as port:
        broker = MqttBroker(port=port)
        said = {
            "name": "clicks",
            "events": {"kind": "mqtt", "broker": {"port": port}, "topic": "shop/+/clicks", "entity_level": 1},
            "form": {"time_field": "t"},
            "definitions": DEFINITIONS,
            "output": {"broker": {"port": port}, "topic": "features/clicks"},
        }
        (tmp_path / "clicks.yaml").write_text(yaml.safe_dump(said))
        listener = MqttEvents(broker, "features/clicks", "reads")

        def act() -> None:
            try:
                with MqttResults(broker, "shop/ann/clicks") as shop:
                    shop.publish([click(0, 10), click(600, 20), click(2 * DAY_S, 30)])
                found: list[bytes] = []
                while sum(b'"week"' in one for one in found) < 47:
                    found += [one.data for one in some(listener)]
                with MqttResults(broker, "shop/ann/clicks") as shop:
                    shop.publish([click(1200, 60), click(3 * DAY_S, 30)])
                while sum(b'"week"' in one for one in found) < 71:
                    found += [one.data for one in some(listener)]
            finally:
                os.kill(os.getpid(), signal.SIGINT)

        with MqttEvents(broker, "shop/+/clicks", "shoal-stream-clicks"):
            pass  # the broker keeps what comes before the stream is there
        with listener:
            thread = threading.Thread(target=act)
            thread.start()
            ran = shoal("features", "stream", "clicks.yaml")
            thread.join()
        assert ran.status == 0, ran.err
        assert "5 events taken" in ran.out
        assert "too late for their window:" in ran.err
        assert value(shoal, "session", "ann", "count") == 0, "the session is too old, and its fallback stands"
        streamed = json.loads(shoal("features", "get", "week", "ann", "--json").out)[0]["features"]["amount_mean"]
        again = shoal("features", "recompute", "clicks.yaml", "--out", "rows")
        assert again.status == 0, again.err
        computed = json.loads(shoal("features", "get", "week", "ann", "--json").out)[0]["features"]["amount_mean"]
    assert computed["at"] == streamed["at"]

    import pyarrow.parquet as pq

    rows = pq.read_table("rows/week.parquet").to_pylist()
    assert rows[-1]["amount_mean"] == pytest.approx((10 + 20 + 60 + 30) / 4)
    assert rows[-1]["created"] >= rows[-1]["event_time"]


def some(listener: MqttEvents) -> list[Arrival]:
    found = listener.take(1000, 20.0)
    assert found, "nothing was published in time"
    listener.done(found)  # or the broker holds the rest back
    return found


def click(at_s: float, amount: float) -> bytes:
    return json.dumps({"t": START_S + at_s, "amount": amount}).encode()


def test_a_wrong_stream_file_is_told_with_its_line(shoal: Shoal, tmp_path: Path) -> None:
    file = tmp_path / "clicks.yaml"
    file.write_text(
        "name: clicks\nevents: {kind: mqtt, topic: x}\ndefinitions:\n  week:\n"
        "    window: {kind: time, size_ms: 10, every_ms: 3}\n"
        "    features: {n: {aggregate: events}}\n"
    )
    told = shoal("features", "stream", str(file)).err.replace("\n", "")
    assert "line 4" in told
    assert "definitions.week" in told
    file.write_text(file.read_text().replace("every_ms: 3", "every_ms: 5, late_ms: 1"))
    assert "there is no field week.window.late_ms" in shoal("features", "stream", str(file)).err.replace("\n", "")
