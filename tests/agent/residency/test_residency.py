"""Models of real updaters under a budget: who gives way, who comes back when asked, and what outlasts a restart."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.agent.compositions.conftest import ensemble
from tests.agent.endpoints import ask
from tests.agent.residency.conftest import BODY, Board, wait_for
from tests.agent.serving.conftest import SeenRequests

from shoal_agent.compositions import Compositions
from shoal_agent.endpoint import RequestError
from shoal_agent.errors import DeploymentFailedError
from shoal_agent.features.model_call import ModelCall
from shoal_agent.features.store import FeatureStore
from shoal_agent.residency import ResidencyNotes
from shoal_agent.residency.errors import MemoryBudgetError
from shoal_agent.sections import Sections
from shoal_agent.serving import Inference, ServingSettings, create_router
from shoal_agent.settings import FeatureSettings, MemorySettings
from shoal_contract.features import CountWindow, Feature, FeatureDefinition, ModelStep
from shoal_numerics.features import WindowRows

pytestmark = pytest.mark.anyio
SIZES = {"a": 40, "b": 40, "c": 40}
BUDGET = MemorySettings(budget_bytes=100)


async def test_the_model_that_was_not_used_for_longest_gives_way_and_comes_back_when_asked(tmp_path: Path) -> None:
    board = Board(tmp_path, SIZES, BUDGET)
    for name in ("a", "b"):
        await board.deploy(name)
    await board.ask("a")
    await board.deploy("c")
    assert (board.loaded(), board.taken_bytes) == (("a", "c"), 80)
    async with board.endpoint() as client:
        index = {one["name"]: one for one in (await client.post("/v2/repository/index")).json()}
        assert index["b"] == {
            "name": "b",
            "version": "1",
            "state": "UNAVAILABLE",
            "reason": "model 'b' gave way to 'c' in memory",
        }
        assert (await client.get("/v2/models/b/ready")).status_code == 503
        counted = (await client.get("/v2/models/stats")).json()["model_stats"]
        assert [(one["name"], one.get("state")) for one in counted] == [("a", None), ("c", None), ("b", "unloaded")]
        answer = await client.post("/v2/models/b/infer", json=BODY)
        assert (answer.status_code, answer.json()["model_version"]) == (200, "1")
    assert (board.loaded(), board.taken_bytes) == (("b", "c"), 80)
    assert 'shoal_agent_model_loaded{model="a"} 0' in board.metrics()
    assert 'shoal_agent_model_evictions_total{model="a"} 1' in board.metrics()
    assert 'shoal_agent_model_memory_bytes{model="b"} 40' in board.metrics()
    await board.server.aclose()


async def test_room_is_made_before_a_measured_model_is_loaded(tmp_path: Path) -> None:
    board = Board(tmp_path, SIZES, BUDGET)
    for name in ("a", "b", "c"):
        await board.deploy(name)
    most = []
    engine = board.engine("b")
    close = engine.close
    engine.close = lambda: (most.append(board.loads[-1]), close())[1]  # type: ignore[method-assign]
    await board.ask("a")
    assert most == ["c"], "b was closed before a was loaded again"
    await board.server.aclose()


async def test_a_model_gives_way_to_none_that_is_less_important(tmp_path: Path) -> None:
    board = Board(tmp_path, SIZES, BUDGET, {"a": 5, "b": 5})
    steps = [await board.deploy(name) for name in ("a", "b", "c")]
    assert (board.loaded(), steps) == (("a", "b"), [None, None, "unloaded"])
    async with board.endpoint() as client:
        answer = await client.post("/v2/models/c/infer", json=BODY)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        assert "model 'c' takes 40 bytes of memory, and a, b do not give way to it" in answer.json()["error"]
    assert (board.loads.count("c"), board.loaded()) == (1, ("a", "b"))
    await board.server.aclose()


async def test_models_that_come_together_are_measured_one_by_one(tmp_path: Path) -> None:
    board = Board(tmp_path, SIZES, MemorySettings())
    board.load_s = 0.02
    async with anyio.create_task_group() as group:
        for number, name in enumerate(SIZES, 1):
            group.start_soon(board.deploy, name, number)
    assert [one.size_bytes for one in board.residency.residents()] == [40, 40, 40]
    await board.server.aclose()


async def test_a_kept_model_never_gives_way(tmp_path: Path) -> None:
    board = Board(tmp_path, SIZES, MemorySettings(budget_bytes=100, kept=("a",)), {"b": 9, "c": 9})
    for name in ("a", "b", "c"):
        await board.deploy(name)
    assert board.loaded() == ("a", "c")
    await board.server.aclose()


async def test_a_model_larger_than_the_budget_fails_its_deployment_in_clear_words(tmp_path: Path) -> None:
    board = Board(tmp_path, {"a": 40, "b": 101}, BUDGET)
    await board.deploy("a")
    with pytest.raises(DeploymentFailedError, match="it takes 101 bytes of memory, all models together may take 100"):
        await board.deploy("b")
    assert (board.loaded(), board.taken_bytes) == (("a",), 40)
    await board.server.aclose()


async def test_a_start_loads_within_the_budget_what_is_most_important(tmp_path: Path) -> None:
    board = Board(tmp_path, SIZES, MemorySettings())
    for name in ("a", "b", "c"):
        await board.deploy(name)
    assert board.taken_bytes == 120
    again = await board.restart(BUDGET, {"a": -1})
    assert again.loaded() == ("b", "c")
    assert again.loads == ["a", "b", "c"]
    assert await again.deploy("a") == "unloaded"  # what is wanted has not changed: it rests, as it should
    assert (again.loaded(), again.loads) == (("b", "c"), ["a", "b", "c"])
    await again.server.aclose()


async def test_a_start_loads_nothing_in_vain(tmp_path: Path) -> None:
    board = Board(tmp_path, SIZES, MemorySettings())
    for name in ("a", "b", "c"):
        await board.deploy(name)
    again = await board.restart(BUDGET)
    assert (again.loaded(), again.loads) == (("a", "b"), ["a", "b"])
    await again.ask("c")
    assert len(again.loaded()) == 2
    assert "c" in again.loaded()
    await again.server.aclose()


async def test_a_model_that_is_too_large_for_a_smaller_budget_rests_and_says_why(tmp_path: Path) -> None:
    board = Board(tmp_path, SIZES, MemorySettings())
    await board.deploy("a")
    again = await board.restart(MemorySettings(budget_bytes=30))
    assert (again.loaded(), again.loads) == ((), [])
    with pytest.raises(RequestError, match="takes 40 bytes of memory, all models together may take 30"):
        await again.residency.bring("a")


async def test_without_loading_on_demand_a_model_that_gave_way_is_refused(tmp_path: Path) -> None:
    board = Board(tmp_path, SIZES, MemorySettings(budget_bytes=100, loads_on_demand=False))
    for name in ("a", "b", "c"):
        await board.deploy(name)
    async with board.endpoint() as client:
        answer = await client.post("/v2/models/a/infer", json=BODY)
        assert (answer.status_code, "gave way to 'c'" in answer.text) == (503, True)
        assert "retry-after" in answer.headers
        assert (await client.post("/v2/repository/models/a/load")).status_code == 200
    assert board.loaded() == ("a", "c")
    await board.server.aclose()


async def test_requests_that_wait_for_a_model_load_it_once(tmp_path: Path) -> None:
    board = Board(tmp_path, SIZES, BUDGET)
    for name in ("a", "b", "c"):
        await board.deploy(name)
    async with board.endpoint() as client, anyio.create_task_group() as group:
        statuses: list[int] = []

        async def ask() -> None:
            statuses.append((await client.post("/v2/models/a/infer", json=BODY)).status_code)

        for _ in range(6):
            group.start_soon(ask)
    assert (statuses, board.loads) == ([200] * 6, ["a", "b", "c", "a"])
    await board.server.aclose()


async def test_a_composition_brings_its_members_back(tmp_path: Path) -> None:
    board = Board(tmp_path, SIZES, BUDGET)
    for name in ("a", "b"):
        await board.deploy(name)
    async with board.composing(both=ensemble("a", "b")), board.endpoint() as client:
        await board.deploy("c")
        assert board.loaded() == ("b", "c")
        answer = await client.post("/v2/models/both/infer", json=BODY)
        assert answer.json()["parameters"] == {"members": "a/1,b/1"}
        assert board.loaded() == ("a", "b", "both")
        await board.deploy("c", 2)
        await board.ask("c")
        assert (await client.post("/v2/models/both/infer", json=BODY)).status_code == 200
    await board.server.aclose()


async def test_members_of_a_composition_that_is_too_large_do_not_take_turns(tmp_path: Path) -> None:
    board = Board(tmp_path, {"a": 40, "b": 40, "c": 20}, MemorySettings(budget_bytes=90))
    for name in ("a", "b"):
        await board.deploy(name)
    board = await board.restart(MemorySettings(budget_bytes=70))
    async with anyio.create_task_group() as group:
        compositions = Compositions(board.server, SeenRequests(), board.reporter.section)
        compositions.follow({"both": ensemble("a", "b")}, Sections(group, board.reporter, 3600.0, 3600.0))
        await wait_for(lambda: "both" in board.server.absent())
        for _ in range(3):
            with pytest.raises(RequestError):
                await board.residency.bring("both")
        assert len(board.loads) <= 2, "what is loaded stays loaded"
        assert len(board.loaded()) == 1
        compositions.close()
        group.cancel_scope.cancel()
    await board.server.aclose()


async def test_a_composition_that_is_made_anew_asks_nothing_of_its_members(tmp_path: Path) -> None:
    board = Board(tmp_path, SIZES, MemorySettings())
    for name in ("a", "b"):
        await board.deploy(name)
    await board.ask("b")
    async with board.composing(both=ensemble("a", "b")):
        await board.ask("b")
        used = board.residency.idle_s("a")
        await board.deploy("b", 2)
        assert used is not None
        assert (board.residency.idle_s("a") or 0.0) > used
    await board.server.aclose()


async def test_a_load_is_of_the_requests_time_and_goes_on_for_the_next_one(tmp_path: Path) -> None:
    board = Board(tmp_path, SIZES, BUDGET)
    for name in ("a", "b", "c"):
        await board.deploy(name)
    gate, load = anyio.Event(), board.models.load_again

    async def slow(name: str) -> None:
        await gate.wait()
        await load(name)

    board.residency.load = slow
    inference = Inference(board.server, SeenRequests(), ServingSettings(timeout_s=0.05), on_demand=board.residency)
    answer = await ask(create_router(inference), "POST", "/v2/models/a/infer", json.dumps(BODY).encode())
    assert (answer.status, "it was being loaded" in answer.json()["error"]) == (504, True)
    assert inference.statistics.refused["a", "timeout"] == 1
    gate.set()
    await wait_for(lambda: "a" in board.loaded())
    answer = await ask(create_router(inference), "POST", "/v2/models/a/infer", json.dumps(BODY).encode())
    assert (answer.status, board.loads) == (200, ["a", "b", "c", "a"])
    inference.close()
    await board.server.aclose()


async def test_who_unloads_a_model_that_a_request_has_loaded_has_the_last_word(tmp_path: Path) -> None:
    board = Board(tmp_path, SIZES, BUDGET)
    for name in ("a", "b", "c"):
        await board.deploy(name)
    gate, load = anyio.Event(), board.models.load_again

    async def slow(name: str) -> None:
        await gate.wait()
        await load(name)

    board.residency.load = slow
    async with anyio.create_task_group() as group:
        group.start_soon(board.residency.bring, "a")
        await anyio.wait_all_tasks_blocked()
        group.start_soon(board.residency.unload, "a")
        await anyio.wait_all_tasks_blocked()
        gate.set()
    assert "a" not in board.loaded()
    again = await board.restart()
    assert "a" not in again.loaded()
    await again.server.aclose()


async def test_requests_that_wait_for_models_are_bounded(tmp_path: Path) -> None:
    board = Board(tmp_path, SIZES, MemorySettings(budget_bytes=100, most_waiting=2))
    for name in ("a", "b", "c"):
        await board.deploy(name)
    board.residency.load = lambda _: anyio.sleep_forever()
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(board.residency.bring, "a")
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(RequestError, match="2 requests wait for models to be loaded") as caught:
            await board.residency.bring("a")
        assert caught.value.status == 429
        group.cancel_scope.cancel()
    await board.server.aclose()


async def test_a_version_that_is_being_proved_gives_way_to_nobody(tmp_path: Path) -> None:
    board = Board(tmp_path, SIZES, BUDGET)
    for name in ("a", "b"):
        await board.deploy(name)
    with board.residency.proving("a"):
        await board.deploy("c")
        assert board.loaded() == ("a", "c")
    await board.ask("b")
    assert board.loaded() == ("b", "c")
    await board.server.aclose()


async def test_a_pipeline_has_its_model_loaded(tmp_path: Path) -> None:
    board = Board(tmp_path, SIZES, BUDGET)
    for name in ("a", "b", "c"):
        await board.deploy(name)
    features = {f"f{n}": Feature(aggregate="mean", field=f"x{n}") for n in range(4)}
    definition = FeatureDefinition(window=CountWindow(size=1, every=1), features=features)
    step = ModelStep(name="a", features=tuple(f"d/{name}" for name in features))
    store = FeatureStore(tmp_path / "features.sqlite", FeatureSettings(), lambda: 0)
    call = ModelCall(step, {"d": definition}, board.server, SeenRequests(), store, board.residency)
    one = np.zeros(1, dtype=np.int64)
    rows = WindowRows(["pump"], one, one, one, np.zeros((1, 4)))
    [answer] = await call.answer(rows)
    assert answer is not None
    assert (answer.model, board.loaded(), call.problem) == ("a", ("a", "c"), None)
    store.close()
    await board.server.aclose()


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.fixed_dictionaries(dict.fromkeys("abcd", st.integers(1, 60))),
    priorities=st.fixed_dictionaries(dict.fromkeys("abcd", st.integers(0, 1))),
    asked=st.lists(st.sampled_from("abcd"), max_size=12),
)
def test_whoever_is_asked_the_budget_holds_and_only_those_go_whom_a_preview_named(
    tmp_path_factory: pytest.TempPathFactory, sizes: dict[str, int], priorities: dict[str, int], asked: list[str]
) -> None:
    async def run() -> None:
        board = Board(Path(tmp_path_factory.mktemp("board")), sizes, BUDGET, priorities)
        for name in "abcd":
            await board.deploy(name)
            assert board.taken_bytes <= 100
        for name in asked:
            before = set(board.loaded())
            named = board.residency.preview(sizes[name], priority=priorities[name])
            try:
                await board.ask(name)
            except RequestError:
                assert (name in before, named.fits) == (False, False)
            gone = before - set(board.loaded())
            assert gone == (set() if name in before else set(named.evicted))
            assert board.taken_bytes == sum(sizes[one] for one in board.loaded()) <= 100
        await board.server.aclose()

    anyio.run(run)


def test_damaged_notes_are_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "residency.json"
    path.write_bytes(b"{")
    notes = ResidencyNotes(path)
    notes.note_unloaded("a", "0" * 64)
    assert ResidencyNotes(path).is_unloaded("a", "0" * 64)


def test_notes_of_several_threads_are_all_kept(tmp_path: Path) -> None:
    notes = ResidencyNotes(tmp_path / "residency.json")
    names = [f"m{number}" for number in range(24)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: notes.note_unloaded(name, "0" * 64), names))
    again = ResidencyNotes(tmp_path / "residency.json")
    assert all(again.is_unloaded(name, "0" * 64) for name in names)


async def test_a_version_before_is_loaded_beside_where_there_is_room_and_counts_while_it_is(
    tmp_path: Path,
) -> None:
    board = Board(tmp_path, {"a": 40, "b": 40}, BUDGET)
    for number in (1, 2):
        await board.deploy("a", number)
    before = await board.models.open_previous("a")
    assert before is not None
    assert (before.version, board.taken_bytes) == (1, 80)
    board.residency.beside = lambda name: 40 if name == "a" else 0
    await board.deploy("b")
    assert board.loaded() == ("a",), "what something stands in for gives way to nothing, and is as large as both"
    before.engine.close()
    board.residency.beside = lambda _: 0
    await board.ask("b")
    with pytest.raises(MemoryBudgetError, match="beside what serves"):
        await board.models.open_previous("a")
    assert board.taken_bytes == 80, "what found no room is closed"
    await board.server.aclose()
