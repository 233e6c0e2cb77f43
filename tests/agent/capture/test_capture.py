"""Samples of real requests are kept by the owner's rules, redacted by the owner's program, or not at all."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import numpy as np
import pytest
from tests.agent.endpoints import listening
from tests.agent.serving.conftest import SeenRequests, served_tiny
from tests.agent.trials.conftest import START, OtherEngine, trial

from shoal_agent.capture import Capture, CaptureRules, CaptureStore, capture_families, open_capture
from shoal_agent.capture.archive import from_npz, to_npz
from shoal_agent.capture.capturer import MAX_WAITING, _part
from shoal_agent.encryption_key import new_encryption_key
from shoal_agent.metrics import exposition
from shoal_agent.serving import Inference, ModelServer, create_router
from shoal_agent.trials import Arms, Shadow

pytestmark = pytest.mark.anyio
X = [[0.5, -1.0, 2.0, 0.25], [0.0, 0.0, 0.0, 0.0]]
KEY = new_encryption_key("d-abcdefgh234567ab")
ALL = {"models": {"tiny": {"share": 1.0}}}
_BLACKEN = """
import sys, io, numpy as np
arrays = dict(np.load(io.BytesIO(sys.stdin.buffer.read())))
arrays["x"][:2] = 0
out = io.BytesIO(); np.savez(out, **arrays); sys.stdout.buffer.write(out.getvalue())
"""


class Fates(Counter[Any]):
    """What became of samples; each one is news, from whatever thread."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self.news = anyio.Event()

    def __setitem__(self, fate: Any, count: int) -> None:
        super().__setitem__(fate, count)
        self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self.news.set()


@dataclass
class Device:
    """A served tiny model whose requests are captured."""

    client: httpx.AsyncClient
    capture: Capture
    store: CaptureStore
    seen: SeenRequests
    server: ModelServer
    shadow: Shadow
    arms: Arms
    fates: "Fates"

    async def infer(self, rows: list[list[float]] = X, request_id: str = "r-1") -> dict[str, Any]:
        tensor = {"name": "x", "datatype": "FP32", "shape": [len(rows), 4], "data": rows}
        answer = await self.client.post("/v2/models/tiny/infer", json={"inputs": [tensor], "id": request_id})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def settled(self, count: int) -> None:
        """Wait until so many picked samples have been kept or let go."""
        with anyio.fail_after(20):
            while self.fates.total() < count:
                self.fates.news = anyio.Event()
                if self.fates.total() < count:
                    await self.fates.news.wait()

    def samples(self) -> list[dict[str, Any]]:
        opened = [self.store.open(kept.name, KEY) for kept in self.store.kept()]
        return [one.about.model_dump() | {"x": from_npz(one.sample, 10_000)["x"].tolist()} for one in opened]


@asynccontextmanager
async def capturing(
    folder: Path, rules: dict[str, Any], chance: Callable[[], float] = lambda: 0.0
) -> AsyncIterator[Device]:
    server, seen, store = ModelServer(), SeenRequests(), CaptureStore(folder / "capture", lambda: START)
    arms = Arms(server)
    shadow = Shadow(seen, arms, lambda: START)
    capture = Capture(shadow, CaptureRules.model_validate(rules), store, lambda: KEY, lambda: START, chance)
    shadow.on_different = capture.disagree
    capture.fates = fates = Fates()
    async with anyio.create_task_group() as group, listening(create_router(Inference(server, capture))) as port:
        group.start_soon(capture.run)
        group.start_soon(shadow.run)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            await server.swap("tiny", served_tiny())
            yield Device(client, capture, store, seen, server, shadow, arms, fates)
        await arms.candidates.aclose()
        await server.aclose()
        group.cancel_scope.cancel()


async def test_a_picked_sample_is_kept_with_what_is_known_of_it(tmp_path: Path) -> None:
    async with capturing(tmp_path, ALL) as device:
        answer = await device.infer()
        await device.settled(2)
        found = device.samples()
    scores = np.reshape(answer["outputs"][0]["data"], (2, 3))
    assert sorted(one["x"] for one in found) == sorted(X)
    one = next(one for one in found if one["x"] == X[0])
    assert (one["model"], one["version"], one["request_id"], one["reasons"]) == ("tiny", 1, "r-1", ("random",))
    assert (one["label"], one["confidence"]) == (scores[0].argmax(), pytest.approx(scores[0].max(), abs=1e-6))
    assert device.seen.ids == ["r-1"], "who watches sees all the same"


async def test_nothing_is_kept_of_other_models_nor_of_what_no_rule_picks(tmp_path: Path) -> None:
    for model, share in (("other", 1.0), ("tiny", 0.5)):
        async with capturing(tmp_path, {"models": {model: {"share": share}}}, lambda: 0.5) as device:
            await device.infer()
            await anyio.wait_all_tasks_blocked()
            assert (device.store.kept(), device.capture.fates.total()) == ([], 0)


async def test_a_request_gives_only_so_many_samples_and_no_large_ones(tmp_path: Path) -> None:
    async with capturing(tmp_path, ALL | {"max_samples_per_request": 1}) as device:
        await device.infer([[float(n)] * 4 for n in range(50)])
        await device.settled(1)
        assert len(device.store.kept()) == 1
    async with capturing(tmp_path / "small", ALL | {"max_sample_bytes": 8}) as device:
        await device.infer()
        await device.settled(2)
        assert (device.store.kept(), device.capture.fates) == ([], {"too_large": 2})


@pytest.mark.parametrize(
    ("more", "fates"), [({}, {"busy": 20 - MAX_WAITING}), ({"max_sample_bytes": 8}, {"too_large": 20})]
)
async def test_only_so_many_samples_wait_whatever_labels_do_and_large_ones_take_no_place(
    tmp_path: Path, more: dict[str, int], fates: dict[str, int]
) -> None:
    rules, store = CaptureRules.model_validate(ALL | more), CaptureStore(tmp_path, lambda: START)
    capture = Capture(SeenRequests(), rules, store, lambda: KEY, lambda: START, lambda: 0.0)
    served, inputs = served_tiny(), {"x": np.array(X, dtype=np.float32)}
    outputs = served.engine.infer(inputs)
    for number in range(10):
        capture.note_labels("tiny", f"l-{number}", [0, 0])
        capture.observe(served, inputs, outputs, 1.0, f"r-{number}")
    served.engine.close()
    assert capture.fates == fates


async def test_samples_on_which_a_trial_s_versions_disagree_are_kept(tmp_path: Path) -> None:
    async with capturing(tmp_path, {"models": {"tiny": {"disagreement": True}}}) as device:
        await device.arms.candidates.swap("tiny", served_tiny(2, OtherEngine(served_tiny().engine)))
        device.shadow.begin("tiny", trial())
        device.arms.start("tiny", trial(), START)
        await device.infer()
        await device.settled(1)
        [one] = device.samples()
    assert (one["x"], one["reasons"], one["version"]) == (X[0], ("disagreement",), 1)


async def test_what_the_owner_s_program_gives_back_is_what_is_kept(tmp_path: Path) -> None:
    async with capturing(tmp_path, ALL | {"redact": [sys.executable, "-c", _BLACKEN]}) as device:
        await device.infer([X[0]])
        await device.settled(1)
        [one] = device.samples()
    assert one["x"] == [0.0, 0.0, 2.0, 0.25]


@pytest.mark.parametrize(
    "program",
    [
        ["/bin/false"],
        ["/nowhere/redactor"],
        ["/bin/cat", "/dev/zero"],
        ["/bin/echo", "no archive"],
        ["/bin/sh", "-c", "cat; exit 1"],
        ["/bin/sh", "-c", "sleep 60 & cat > /dev/null; wait"],
    ],
    ids=["fails", "missing", "endless", "no-archive", "fails-late", "hangs"],
)
async def test_without_the_program_s_answer_nothing_is_kept(
    tmp_path: Path, program: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with capturing(tmp_path, ALL | {"redact": program, "redact_timeout_s": 1.0}) as device:
        await device.infer([X[0]])
        await device.settled(1)
        assert (device.store.kept(), device.capture.fates) == ([], {"redactor": 1})
    assert "is not kept" in caplog.text


async def test_a_program_that_reads_nothing_and_answers_is_believed(tmp_path: Path) -> None:
    (tmp_path / "fixed.npz").write_bytes(to_npz({"x": np.ones(4, dtype=np.float32)}))
    async with capturing(tmp_path, ALL | {"redact": ["/bin/cat", str(tmp_path / "fixed.npz")]}) as device:
        await device.infer([X[0]])
        await device.settled(1)
        assert [one["x"] for one in device.samples()] == [[1.0] * 4]


async def test_the_day_s_budget_ends_the_day(tmp_path: Path) -> None:
    async with capturing(tmp_path, ALL | {"max_samples_per_day": 3}) as device:
        for _ in range(3):
            await device.infer()
        await device.settled(6)
        assert (len(device.store.kept()), device.capture.fates) == (3, {"kept": 3, "budget": 3})


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def opened(path: Path | None, folder: Path) -> Capture | None:
    return open_capture(path, SeenRequests(), folder, lambda: KEY, lambda: START)


def test_nothing_is_captured_unless_both_the_owner_and_the_rules_say_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rules = write(tmp_path / "capture.toml", "[models.tiny]\nshare = 0.1\n")
    assert opened(None, tmp_path) is None
    assert opened(tmp_path / "missing.toml", tmp_path) is None
    assert "there are no rules" in caplog.text
    assert opened(rules, tmp_path) is not None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[models.tiny]\n", "give share, confidence_below"),
        ("[models.tiny]\nshare = 2\n", "models.tiny.share"),
        ("[models.tiny]\nshare = 0.1\nshares = 1\n", "models.tiny.shares"),
        ("max_mb = 0\n[models.tiny]\nshare = 0.1\n", "max_mb"),
        ("redact = 'cat'\n[models.tiny]\nshare = 0.1\n", "redact"),
        ("[models.tiny\n", "reading the rules"),
        ("", "models"),
    ],
)
def test_rules_that_can_not_be_read_capture_nothing_and_say_where(
    tmp_path: Path, text: str, complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert opened(write(tmp_path / "capture.toml", text), tmp_path) is None
    assert "nothing is captured" in caplog.text
    assert complaint in caplog.text


def test_rules_that_others_could_have_written_capture_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rules = write(tmp_path / "capture.toml", "[models.tiny]\nshare = 0.1\n")
    rules.chmod(0o666)
    assert opened(rules, tmp_path) is None
    assert "others than root" in caplog.text


async def test_what_became_of_samples_is_in_the_metrics(tmp_path: Path) -> None:
    async with capturing(tmp_path, ALL | {"max_samples_per_day": 1}) as device:
        await device.infer()
        await device.settled(2)
        lines = exposition(capture_families(device.capture)).decode().splitlines()
    assert 'shoal_agent_captured_samples_total{fate="kept"} 1' in lines
    assert 'shoal_agent_captured_samples_total{fate="budget"} 1' in lines
    assert 'shoal_agent_captured_samples_total{fate="redactor"} 0' in lines
    assert exposition(capture_families(None)) == b""


async def test_a_true_label_that_comes_back_is_kept_with_its_sample(tmp_path: Path) -> None:
    async with capturing(tmp_path, ALL) as device:
        await device.infer(request_id="r-7")
        await device.settled(2)
        noted = anyio.Event()
        device.capture.on_kept = noted.set
        device.capture.note_labels("tiny", "r-6", [1])
        device.capture.note_labels("another", "r-7", [0, 0])
        device.capture.note_labels("tiny", "r-7", [2, 1])
        with anyio.fail_after(20):
            while any(one["true_label"] is None for one in device.samples()):
                noted = anyio.Event()
                device.capture.on_kept = noted.set
                await anyio.lowlevel.checkpoint()
        found = sorted((one["sample"], one["true_label"], one["x"]) for one in device.samples())
    assert found == [(0, 2, X[0]), (1, 1, X[1])]


async def test_a_true_label_that_comes_before_its_sample_is_on_the_disk_is_kept_with_it(tmp_path: Path) -> None:
    async with capturing(tmp_path, ALL) as device:
        await device.infer(request_id="r-7")
        device.capture.note_labels("tiny", "r-7", [2, 1])
        await device.settled(2)
        with anyio.fail_after(20):
            while any(one["true_label"] is None for one in device.samples()):
                await anyio.lowlevel.checkpoint()
        assert sorted(one["true_label"] for one in device.samples()) == [1, 2]


def test_of_an_input_that_is_not_of_samples_the_whole_is_kept() -> None:
    samples = np.arange(8, dtype=np.float32)
    np.testing.assert_array_equal(_part(samples.reshape(2, 4), 2, 1), [4, 5, 6, 7])
    np.testing.assert_array_equal(_part(samples.reshape(4, 2), 2, 1), [4, 5, 6, 7])
    for whole in (np.array([16000]), np.array(16000), np.arange(3)):
        np.testing.assert_array_equal(_part(whole, 2, 1), whole)
