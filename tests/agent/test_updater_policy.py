"""The updater under a policy: when it fetches and activates, what expires, and how often it tries."""

import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from tests.agent.simulators.device import Device, version
from tests.agent.simulators.owner import NOON, Owner, under
from tests.agent.test_updater import other_answer, roles

from shoal_agent.engines import Engine, GoldenMismatchError, load_version, run_golden
from shoal_agent.errors import FetchError, LinkError, WaitingError
from shoal_agent.hold import Hold
from shoal_agent.slots import SlotFile
from shoal_agent.updater import DOWNLOADED, DeploymentFailedError
from shoal_contract import topics
from shoal_contract.manifest import Variant, VersionManifest
from shoal_contract.update_policy import MaintenanceWindow, Retry

pytestmark = pytest.mark.anyio
NIGHT = (MaintenanceWindow(start="22:00", minutes=60),)


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return Owner(tmp_path)


@pytest.fixture
async def device(tmp_path: Path, owner: Owner) -> AsyncIterator[Device]:
    """A device that serves version 1."""
    made = Device(tmp_path, conditions=owner.conditions)
    await made.converge(made.publish(version(1), "dp-1"))
    made.steps.clear()
    yield made
    await made.server.aclose()


async def test_a_version_is_fetched_and_staged_and_waits_for_its_window(device: Device, owner: Owner) -> None:
    wanted = under(device.publish(version(2), "dp-2"), windows=NIGHT)
    with pytest.raises(WaitingError, match="window") as waiting:
        await device.converge(wanted)
    assert waiting.value.step == "window"
    assert (device.serves, roles(device), device.told) == (1, (1, None, 2), ["fetch", "verify", "stage"])

    owner.passes(hours=10)
    device.source.is_down = True  # nothing more is needed of anybody
    await device.converge(wanted)
    assert (device.serves, roles(device), device.told[-3:]) == (2, (2, 1, None), ["stage", "activate", "commit"])


async def test_a_version_that_waits_is_activated_after_a_restart_without_a_source(device: Device, owner: Owner) -> None:
    wanted = under(device.publish(version(2), "dp-2"), activate_at=NOON + timedelta(hours=1))
    with pytest.raises(WaitingError):
        await device.converge(wanted)
    for _ in range(6):  # starts while it waits are not held against it
        again = await device.restart(conditions=owner.conditions)
        assert again.serves == 1
        again.source.is_down = True
        with pytest.raises(WaitingError):
            await again.converge(wanted)
        await again.server.aclose()
    again = await device.restart(conditions=owner.conditions)
    owner.passes(hours=1)
    await again.converge(wanted)
    assert (again.serves, again.trust.asked) == (2, 0)
    await again.server.aclose()


async def test_outside_of_a_window_not_a_byte_is_fetched_if_the_policy_says_so(device: Device, owner: Owner) -> None:
    wanted = under(device.publish(version(2), "dp-2"), windows=NIGHT, fetch_in_window=True)
    device.source.delivered.clear()
    with pytest.raises(WaitingError, match="fetching it waits"):
        await device.converge(wanted)
    assert (device.source.delivered.total(), device.told) == (0, [])
    owner.passes(hours=10)
    await device.converge(wanted)
    assert device.serves == 2


async def test_a_transfer_ends_with_its_window_and_goes_on_in_the_next(device: Device, owner: Owner) -> None:
    wanted = under(device.publish(version(2), "dp-2"), windows=NIGHT, fetch_in_window=True)
    owner.passes(hours=10, minutes=59, seconds=59.9)
    device.source.delay_s = lambda _: 0.05
    topic = topics.artifact_manifest(wanted.manifest.sha256)

    def slow(asked: str) -> float:
        owner.passes(seconds=0.06)
        return 5.0 if asked != topic else 0.05

    device.source.delay_s = slow
    with anyio.fail_after(3), pytest.raises(WaitingError, match="fetching it waits"):
        await device.converge(wanted)
    device.source.delay_s = lambda _: 0.0
    owner.passes(hours=23, minutes=30)
    await device.converge(wanted)
    assert device.serves == 2


async def test_a_download_only_version_waits_as_candidate_and_is_activated_later_without_fetching(
    device: Device, owner: Owner
) -> None:
    first = device.publish(version(2), "dp-2")
    assert await device.converge(under(first, download_only=True)) == DOWNLOADED
    assert (device.serves, roles(device), device.told) == (1, (1, None, 2), ["fetch", "verify", "stage"])
    assert device.updater.file.slots.to_report().candidate.state == "unproven"  # type: ignore[union-attr]

    again = await device.restart(conditions=owner.conditions)
    again.source.messages.clear()
    assert await again.converge(under(first, download_only=True)) == DOWNLOADED
    assert again.told == []
    assert await again.converge(first.model_copy(update={"deployment": "dp-3"})) is None
    assert (again.serves, roles(again), again.told) == (2, (2, 1, None), ["stage", "activate", "commit"])
    assert again.updater.file.slots.active.deployment == "dp-3"  # type: ignore[union-attr]
    await again.server.aclose()


async def test_a_downloaded_version_does_not_expire_and_is_dropped_when_it_is_no_longer_wanted(
    device: Device, owner: Owner
) -> None:
    first = SlotFile(device.folder / "models", "tiny").slots.active
    wanted = under(device.publish(version(2), "dp-2"), download_only=True, expires_at=NOON + timedelta(hours=1))
    assert await device.converge(wanted) == DOWNLOADED
    owner.passes(hours=2)
    assert await device.converge(wanted) == DOWNLOADED
    assert first is not None
    await device.converge(device.publish(version(1), "dp-4"))
    assert roles(device) == (1, None, None)


async def test_a_damaged_candidate_is_fetched_again(device: Device, owner: Owner) -> None:
    wanted = under(device.publish(version(2), "dp-2"), activate_at=NOON + timedelta(hours=1))
    with pytest.raises(WaitingError):
        await device.converge(wanted)
    candidate = device.updater.file.slots.candidate
    assert candidate is not None
    device.blobs.path(candidate.sha256).write_bytes(b"damaged")
    owner.passes(hours=1)
    await device.converge(wanted)
    assert (device.serves, roles(device)) == (2, (2, 1, None))


async def test_an_expired_deployment_fails_never_serves_and_does_not_block_the_next(
    device: Device, owner: Owner
) -> None:
    wanted = under(device.publish(version(2), "dp-2"), windows=NIGHT, expires_at=NOON + timedelta(hours=10))
    with pytest.raises(WaitingError):
        await device.converge(wanted)
    owner.passes(hours=10)
    with pytest.raises(DeploymentFailedError) as failed:
        await device.converge(wanted)
    assert failed.value.problem.code == "expired"
    assert (device.serves, roles(device), device.told[-1]) == (1, (1, None, None), "fail")
    assert device.updater.file.slots.to_report().candidate is None, "it is not a bad version"
    await device.converge(device.publish(version(3), "dp-3"))
    assert device.serves == 3


async def test_a_transfer_that_hangs_expires(device: Device, owner: Owner) -> None:
    wanted = under(device.publish(version(2), "dp-2"), expires_at=NOON + timedelta(seconds=0.2))

    def stuck(_: str) -> float:
        owner.passes(seconds=1)
        return 60.0

    device.source.delay_s = stuck
    with anyio.fail_after(5), pytest.raises(DeploymentFailedError, match="was to be done by"):
        await device.converge(wanted)
    assert device.serves == 1


async def test_while_the_owner_holds_nothing_is_activated_and_the_reason_is_told(device: Device, owner: Owner) -> None:
    owner.hold = Hold(reason="stocktaking")
    wanted = device.publish(version(2), "dp-2")
    for _ in range(2):
        with pytest.raises(WaitingError, match="stocktaking") as waiting:
            await device.converge(wanted)
        assert (waiting.value.step, device.serves) == ("veto", 1)
    owner.hold = None
    await device.converge(wanted)
    assert device.serves == 2


async def test_a_rollback_by_the_hub_waits_for_the_owner_unless_what_is_held_can_not_serve(
    device: Device, owner: Owner
) -> None:
    first = device.publish(version(1), "dp-1")
    await device.converge(device.publish(version(2), "dp-2"))
    owner.hold = Hold()
    back = first.model_copy(update={"deployment": "dp-3"})
    with pytest.raises(WaitingError) as waiting:
        await device.converge(back)
    assert (waiting.value.step, device.serves) == ("veto", 2)
    await device.server.swap("tiny", None)  # as after a start that found it damaged
    await device.converge(back)
    assert device.serves == 1


async def test_a_model_that_serves_is_not_taken_off_while_its_owner_holds_it(device: Device, owner: Owner) -> None:
    owner.hold = Hold(reason="stocktaking")
    with pytest.raises(WaitingError, match="taking tiny off this device.*stocktaking") as waiting:
        await device.updater.take_off()
    assert (waiting.value.step, device.serves, roles(device)) == ("veto", 1, (1, None, None))
    await device.server.swap("tiny", None)  # it can not serve: the veto protects nothing
    await device.updater.take_off()
    assert roles(device) == (None, None, None)


async def test_a_first_version_waits_for_the_owner_too(tmp_path: Path, owner: Owner) -> None:
    device = Device(tmp_path, conditions=owner.conditions)
    owner.hold = Hold()
    with pytest.raises(WaitingError):
        await device.converge(device.publish(version(1), "dp-1"))
    assert (device.serves, roles(device)) == (None, (None, None, 1))


async def test_tries_to_fetch_are_counted_over_restarts_where_the_policy_bounds_them(
    device: Device, owner: Owner
) -> None:
    wanted = under(device.publish(version(2), "dp-2"), retries={"fetch": Retry(attempts=3, wait_s=10)})
    device.source.messages.pop(topics.artifact_manifest(wanted.manifest.sha256))
    waits = []
    for _ in range(2):
        device = await device.restart(conditions=owner.conditions)
        with pytest.raises(WaitingError) as waiting:
            await device.converge(wanted)
        assert (waiting.value.step, waiting.value.to_problem().code) == ("retry", "fetch")
        waits.append(waiting.value.wait_s)
        await device.server.aclose()
    assert waits == [10, 20]
    device = await device.restart(conditions=owner.conditions)
    with pytest.raises(DeploymentFailedError, match="expected|nothing|silent|arrived"):
        await device.converge(wanted)
    assert device.serves == 1
    await device.server.aclose()


async def test_a_link_that_is_down_is_no_try(device: Device) -> None:
    wanted = under(device.publish(version(2), "dp-2"), retries={"fetch": Retry(attempts=1)})
    device.source.is_down = True
    for _ in range(3):
        with pytest.raises(LinkError):
            await device.converge(wanted)
    device.source.is_down = False
    await device.converge(wanted)
    assert device.serves == 2


async def test_one_try_to_fetch_has_a_time_limit(device: Device) -> None:
    wanted = under(device.publish(version(2), "dp-2"), fetch_timeout_s=0.1)
    device.source.delay_s = lambda _: 60.0
    with anyio.fail_after(5), pytest.raises(FetchError, match="not done in its time"):
        await device.converge(wanted)


async def test_a_bad_version_is_never_tried_again_until_it_has_changed(device: Device) -> None:
    wanted = under(device.publish(version(2, other_answer), "dp-2"))
    with pytest.raises(DeploymentFailedError, match="differs by"):
        await device.converge(wanted)
    report = device.updater.file.slots.to_report()
    assert report.candidate is not None
    assert (report.candidate.version, report.candidate.state) == (2, "bad")
    device.steps.clear()
    with pytest.raises(DeploymentFailedError):
        await device.converge(wanted)
    assert device.told == []
    mended = device.publish(version(2), "dp-2")  # the same deployment, another manifest
    await device.converge(mended)
    assert device.serves == 2
    assert device.updater.file.slots.to_report().candidate is None


async def test_a_self_test_is_tried_as_often_as_the_policy_says(device: Device) -> None:
    wanted = under(device.publish(version(2, other_answer), "dp-2"), retries={"self_test": Retry(attempts=2)})
    with pytest.raises(WaitingError, match="differs by"):
        await device.converge(wanted)
    with pytest.raises(DeploymentFailedError, match="differs by"):
        await device.converge(wanted)
    assert (device.serves, roles(device)) == (1, (1, None, None))


async def test_a_start_on_which_the_runtime_fails_goes_back_for_good_and_tells_it(
    device: Device, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = device.publish(version(2), "dp-2")
    await device.converge(wanted)

    def fail(engine: Engine, manifest: VersionManifest, variant: Variant) -> float:
        if manifest.version == 2:
            raise GoldenMismatchError("self-test of tiny version 2: it differs since the runtime was replaced")
        return run_golden(engine, manifest, variant)

    monkeypatch.setattr("shoal_agent.loading.run_golden", fail)
    again = await device.restart(conditions=owner.conditions)
    assert (again.serves, roles(again), again.told) == (1, (1, None, None), ["roll_back", "fail"])
    assert again.steps[0].problem is not None
    assert (again.steps[0].deployment, again.steps[0].problem.code) == ("dp-2", "golden")
    report = again.updater.file.slots.to_report()
    assert report.candidate is not None
    assert (report.candidate.version, report.candidate.state) == (2, "bad")
    with pytest.raises(DeploymentFailedError, match="runtime was replaced") as failed:
        await again.converge(wanted)
    assert failed.value.step == "roll_back"
    await again.server.aclose()


async def test_a_start_on_a_damaged_file_tells_that_it_went_back_and_mends_it(device: Device, owner: Owner) -> None:
    wanted = device.publish(version(2), "dp-2")
    await device.converge(wanted)
    active = device.updater.file.slots.active
    assert active is not None
    device.blobs.path(active.sha256).write_bytes(b"damaged")
    again = await device.restart(conditions=owner.conditions)
    assert (again.serves, again.told) == (1, ["roll_back"])
    assert again.steps[0].problem is not None
    assert "changed on disk" in again.steps[0].problem.message
    await again.converge(wanted)
    assert (again.serves, again.told[-1]) == (2, "commit")
    await again.server.aclose()


async def test_a_file_that_takes_for_ever_to_load_is_given_up(device: Device) -> None:
    let_go, closed = threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Engine:
        let_go.wait(30)
        engine = load_version(*arguments)
        close = engine.close

        def note_close() -> None:
            close()
            closed.set()

        engine.close = note_close  # type: ignore[method-assign]
        return engine

    wanted = under(device.publish(version(2), "dp-2"), activate_timeout_s=0.2)
    slow_updater = replace(device.updater, load_engine=slow)
    with anyio.fail_after(10), pytest.raises(DeploymentFailedError, match="not done after 0.2 s"):
        await slow_updater.converge(wanted, (1, 1), device.steps.append)
    assert (device.serves, roles(device)) == (1, (1, None, None))
    let_go.set()
    assert await anyio.to_thread.run_sync(closed.wait, 10), "what was made in the end is closed"
