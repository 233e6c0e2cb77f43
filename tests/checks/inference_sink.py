"""What every sink of batch inference is held to: `InferenceSinkChecks`, run against each implementation."""

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from shoal_training.batch_inference.manifest import Manifest, ModelIdentity
from shoal_training.batch_inference.sinks.sink import Sink, SinkContext

NOW = datetime(2026, 5, 4, 12, 30, tzinfo=timezone.utc)


def table(part: int) -> pa.Table:
    """Return three rows of a part, of many types."""
    ids = [part * 10 + at for at in range(3)]
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "score": pa.array([0.5, float("nan"), -1.0], pa.float32()),
            "label": ["low", None, "hîgh"],
            "is_new": [True, False, None],
            "at": pa.array([NOW, None, NOW], pa.timestamp("us", "UTC")),
            "scores": pa.array([[0.5, 1.5], [], [2.0]], pa.list_(pa.float32())),
        }
    )


class InferenceSinkChecks:
    """A sink keeps what `Writer` says; see there."""

    @pytest.fixture
    def sink(self) -> Sink:
        """Give the sink, empty."""
        raise NotImplementedError

    @pytest.fixture
    def context(self, tmp_path: Path) -> SinkContext:
        (tmp_path / "notes").mkdir()
        return SinkContext("run-1", tmp_path, tmp_path / "notes")

    def rows(self, sink: Sink, context: SinkContext) -> list[dict[str, Any]]:
        """Return what has come, in order, with the columns `id`, `label` and `scores` at least."""
        raise NotImplementedError

    def test_parts_come_once_and_are_known_to_the_next_process(self, sink: Sink, context: SinkContext) -> None:
        with sink.opened(context) as writer:
            assert writer.written() == {}
            first = writer.write(2, table(2))
            assert first.rows == 3
        with sink.opened(context) as writer:
            assert writer.written() == {2: first}
            writer.write(1, table(1))
            empty = writer.write(3, None)
            assert writer.written()[3] == empty
            assert empty.rows == 0
            assert sorted(writer.written()) == [1, 2, 3]
        found = self.rows(sink, context)
        assert sorted(one["id"] for one in found) == [10, 11, 12, 20, 21, 22]
        by_id = {one["id"]: one for one in found}
        assert by_id[12]["label"] == "hîgh"
        assert by_id[11]["label"] in {None, ""}  # a CSV file has no null
        assert by_id[10]["scores"] in ([0.5, 1.5], "[0.5, 1.5]")

    def test_another_run_is_apart(self, sink: Sink, context: SinkContext, tmp_path: Path) -> None:
        with sink.opened(context) as writer:
            writer.write(1, table(1))
        (tmp_path / "others").mkdir()
        with sink.opened(SinkContext("run-2", tmp_path, tmp_path / "others")) as writer:
            assert writer.written() == {}
            writer.write(1, table(2))
        assert len(self.rows(sink, context)) == 6

    def test_a_manifest_is_written_once(self, sink: Sink, context: SinkContext) -> None:
        with sink.opened(context) as writer:
            part = writer.write(1, table(1))
            model = ModelIdentity(name="m", sha256="0" * 64)
            given = {"run": "run-1", "name": "nightly", "model": model, "source": {}, "rows": 3, "refused_rows": 0}
            manifest = Manifest(**given, parts=(part,), finished_at=NOW)
            writer.finish(manifest)
            writer.finish(manifest.model_copy(update={"rows": 99}))
        found = self.manifests(sink, context)
        assert [one.rows for one in found] == [3]
        assert found[0].parts == (part,)

    def manifests(self, sink: Sink, context: SinkContext) -> list[Manifest]:
        """Return the manifests that have come."""
        raise NotImplementedError

    def test_the_same_rows_have_the_same_hash(self, sink: Sink, context: SinkContext) -> None:
        halves = pa.concat_tables([table(1).slice(0, 1), table(1).slice(1)])
        with sink.opened(context) as writer:
            assert writer.write(1, table(1)).sha256 == writer.write(2, halves).sha256
