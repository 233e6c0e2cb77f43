"""From the hub's wish to what serves: a version proves itself, or the last good one stays, whatever fails."""

import errno
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from unittest import mock

import anyio
import pytest
from tests.agent.serving.conftest import GatedEngine
from tests.agent.simulators.cut_deployments import cut_deployments
from tests.agent.simulators.device import Device, version
from tests.agent.simulators.director import ref_of
from tests.fixtures import tiny

from shoal_agent.engines import CPU, Array, Engine, load_version, to_tensor_data
from shoal_agent.errors import ArtifactError, DiskError, FetchError, HeldError
from shoal_agent.slots import SlotFile
from shoal_agent.updater import DeploymentFailedError
from shoal_contract import topics
from shoal_contract.desired import DesiredModel
from shoal_contract.manifest import Variant, VersionManifest

pytestmark = pytest.mark.anyio
ALL_STEPS = ["fetch", "verify", "stage", "activate", "commit"]
WAITS_S = 0.5


@pytest.fixture
async def device(tmp_path: Path) -> AsyncIterator[Device]:
    made = Device(tmp_path)
    yield made
    await made.server.aclose()


def roles(device: Device) -> tuple[int | None, int | None, int | None]:
    """Return the versions that are active, previous and candidate, as on disk."""
    slots = SlotFile(device.folder / "models", "tiny").slots
    assert slots == device.updater.file.slots
    held = (slots.active, slots.previous, slots.candidate)
    return tuple(slot.version if slot else None for slot in held)  # type: ignore[return-value]


def broken_file(data: bytes) -> Callable[[Variant], Variant]:
    ref = ref_of(data)
    return lambda variant: variant.model_copy(update={"sha256": ref.sha256, "size_bytes": ref.size_bytes})


def other_answer(variant: Variant) -> Variant:
    wrong = to_tensor_data(tiny.probabilities(tiny.GOLDEN) + 0.01)
    return variant.model_copy(update={"golden_outputs": {"probabilities": wrong}})


class WaitingEngine(GatedEngine):
    """An engine whose thread waits for a while in each run."""

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        threading.Event().wait(WAITS_S)
        return self.engine.infer(inputs)


async def test_a_version_is_fetched_proved_and_served(device: Device) -> None:
    await device.converge(device.publish(version(1), "dp-1"))
    assert (device.serves, roles(device), device.told) == (1, (1, None, None), ALL_STEPS)
    assert device.updater.file.slots.active.state == "good"  # type: ignore[union-attr]


@pytest.mark.parametrize(("accelerator", "expected"), [(CPU, False), ("cuda", True)])
async def test_a_self_test_is_told_without_what_its_thread_waited_for_but_an_accelerator(
    device: Device, accelerator: str, *, expected: bool
) -> None:
    def load_waiting(path: Path, manifest: VersionManifest, variant: Variant) -> Engine:
        return WaitingEngine(load_version(path, manifest, variant), accelerator=accelerator)

    updater = replace(device.updater, load_engine=load_waiting)
    await updater.converge(device.publish(version(1), "dp-1"), (1, 1), device.steps.append)
    served = device.server.get("tiny")
    assert served is not None
    assert served.self_test_s > 0.0
    assert (served.self_test_s >= WAITS_S) == expected


async def test_the_version_before_is_kept_and_a_rollback_fetches_nothing(device: Device) -> None:
    first = device.publish(version(1), "dp-1")
    await device.converge(first)
    await device.converge(device.publish(version(2), "dp-2"))
    assert (device.serves, roles(device)) == (2, (2, 1, None))

    device.source.messages.clear()
    await device.converge(first.model_copy(update={"deployment": "dp-3"}))
    assert (device.serves, roles(device)) == (1, (1, 2, None))


async def test_another_deployment_of_what_serves_changes_nothing_but_its_name(device: Device) -> None:
    wanted = device.publish(version(1), "dp-1")
    await device.converge(wanted)
    device.steps.clear()
    await device.converge(wanted.model_copy(update={"deployment": "dp-2"}), (1, 7))
    active = device.updater.file.slots.active
    assert active is not None
    assert (active.deployment, active.order, device.told) == ("dp-2", (1, 7), [])


def _unloadable(device: Device) -> DesiredModel:
    file = b"no model at all"
    return device.publish(version(2, broken_file(file)), "dp-2", file=file)


def _of_another_format(device: Device) -> DesiredModel:
    file = (tiny.FILES / "classify.tflite").read_bytes()
    return device.publish(version(2, broken_file(file)), "dp-2", file=file)


def _for_another_target(device: Device) -> DesiredModel:
    return device.publish(version(2, lambda variant: variant.model_copy(update={"target": "jetson-onnx"})), "dp-2")


def _with_other_answers(device: Device) -> DesiredModel:
    return device.publish(version(2, other_answer), "dp-2")


def _of_another_model(device: Device) -> DesiredModel:
    return device.publish(version(2).model_copy(update={"model": "other"}), "dp-2")


def _of_another_version(device: Device) -> DesiredModel:
    return device.publish(version(3), "dp-2").model_copy(update={"version": 2})


def _no_manifest(device: Device) -> DesiredModel:
    device.source.publish(b"{}")
    device.trust.listed.add(ref_of(b"{}").sha256)
    return device.publish(version(2), "dp-2").model_copy(update={"manifest": ref_of(b"{}")})


BAD: list[tuple[Callable[[Device], DesiredModel], str]] = [
    (_unloadable, "no ONNX file"),
    (_of_another_format, "expected the format onnx"),
    (_for_another_target, "this device has"),
    (_with_other_answers, "differs by"),
    (_of_another_model, "it is of other version 2"),
    (_of_another_version, "it is of tiny version 3"),
    (_no_manifest, "checking the manifest"),
]


@pytest.mark.parametrize(("publish", "complaint"), BAD, ids=[publish.__name__.strip("_") for publish, _ in BAD])
async def test_a_bad_version_fails_with_its_reason_and_the_good_one_serves_on(
    device: Device, publish: Callable[[Device], DesiredModel], complaint: str
) -> None:
    good = device.publish(version(1), "dp-1")
    await device.converge(good)
    device.steps.clear()
    wanted = publish(device)

    with pytest.raises(DeploymentFailedError, match=complaint) as failed:
        await device.converge(wanted)

    assert failed.value.to_problem().remedy
    assert (device.serves, roles(device)) == (1, (1, None, None))
    assert device.told[-1] == "fail"
    assert device.steps[-1].problem == failed.value.to_problem()

    # Not tried again after a start, nor by the same wish; another deployment is.
    device.source.delivered.clear()
    again = await device.restart()
    with pytest.raises(DeploymentFailedError, match=complaint):
        await again.converge(wanted)
    assert (again.serves, again.told, again.source.delivered.total()) == (1, [], 0)
    with pytest.raises(DeploymentFailedError, match=complaint):
        await again.converge(wanted.model_copy(update={"deployment": "dp-3"}))
    assert again.told[0] == "fetch"
    await again.converge(good)
    assert again.serves == 1
    await again.server.aclose()


async def test_a_first_version_that_fails_leaves_nothing_to_serve_and_says_why(device: Device) -> None:
    with pytest.raises(DeploymentFailedError, match="differs by"):
        await device.converge(_with_other_answers(device))
    assert (device.serves, roles(device)) == (None, (None, None, None))
    assert (await device.restart()).serves is None


async def test_what_can_not_be_fetched_yet_is_no_failure(device: Device) -> None:
    wanted = device.publish(version(1), "dp-1")
    manifest = topics.artifact_manifest(wanted.manifest.sha256)
    held = device.source.messages.pop(manifest)
    with pytest.raises(FetchError):
        await device.converge(wanted)
    assert device.asked == [wanted.manifest.sha256]

    device.source.messages[manifest] = held
    await device.converge(wanted)
    assert device.serves == 1


async def test_a_full_disk_is_no_failure_of_the_version(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    await device.converge(device.publish(version(1), "dp-1"))
    wanted = device.publish(version(2), "dp-2")
    with monkeypatch.context() as disk:

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        disk.setattr("shoal_agent.slots.replace_file", full)
        with pytest.raises(DiskError, match="No space left"):
            await device.converge(wanted)
        assert (device.serves, roles(device)) == (1, (1, None, None))

        rebooted = await device.restart()
        assert rebooted.serves == 1
        await rebooted.server.aclose()

    await device.converge(wanted)
    assert (device.serves, roles(device)) == (2, (2, 1, None))


async def test_a_damaged_artifact_that_is_wanted_again_is_fetched_again(device: Device) -> None:
    wanted = device.publish(version(1), "dp-1")
    await device.converge(wanted)
    device.blobs.path(wanted.manifest.sha256).write_bytes(b"damaged")
    again = Device(device.folder, device.source)
    await again.converge(wanted)
    assert (again.serves, roles(again)) == (1, (1, 1, None))
    await again.server.aclose()


async def test_a_start_serves_the_active_version_without_any_source(device: Device) -> None:
    await device.converge(device.publish(version(1), "dp-1"))
    device.source.messages.clear()
    again = await device.restart()
    assert again.serves == 1
    await again.server.aclose()


@pytest.mark.parametrize("role", ["manifest", "file"])
@pytest.mark.parametrize("damage", ["changed", "gone"])
async def test_a_start_with_a_damaged_active_version_serves_the_previous_and_then_mends_it(
    device: Device, role: str, damage: str
) -> None:
    await device.converge(device.publish(version(1), "dp-1"))
    wanted = device.publish(version(2), "dp-2")
    await device.converge(wanted)
    slot = device.updater.file.slots.active
    assert slot is not None
    path = device.blobs.path(slot.manifest.sha256 if role == "manifest" else slot.sha256)
    path.unlink() if damage == "gone" else path.write_bytes(b"damaged")

    again = await device.restart()
    assert (again.serves, roles(again)) == (1, (1, None, None))
    await again.converge(wanted)
    assert (again.serves, roles(again)) == (2, (2, 1, None))
    await again.server.aclose()


async def test_a_start_with_nothing_whole_says_so_and_is_mended_by_the_hub(device: Device) -> None:
    wanted = device.publish(version(1), "dp-1")
    await device.converge(wanted)
    for path in device.blobs.path("x").parent.iterdir():
        path.write_bytes(b"damaged")

    again = Device(device.folder, device.source)
    with pytest.raises(ArtifactError, match="changed on disk"):
        await again.updater.boot()
    assert again.serves is None
    await again.converge(wanted)
    assert again.serves == 1
    await again.server.aclose()


async def test_a_start_without_the_runtime_of_the_active_version_serves_the_previous(device: Device) -> None:
    litert = tiny.tiny_manifest(1).model_copy(update={"variants": (tiny.litert_variant(),)})
    both = await device.restart(runtimes=("onnxruntime", "litert"))
    await both.converge(both.publish(litert, "dp-1", file=(tiny.FILES / "classify.tflite").read_bytes()))
    await both.converge(both.publish(version(2), "dp-2"))
    await both.server.aclose()

    again = await device.restart(runtimes=("litert",))
    assert again.serves == 1
    await again.server.aclose()


async def test_an_unproven_version_is_proved_by_the_next_start(device: Device) -> None:
    await device.converge(device.publish(version(1), "dp-1"))
    await device.converge(device.publish(version(2), "dp-2"))
    file = device.updater.file
    active = file.slots.active
    assert active is not None
    file.put(file.slots.model_copy(update={"active": active.model_copy(update={"state": "unproven"})}))

    again = await device.restart()
    assert (again.serves, again.updater.file.slots.active.state) == (2, "good")  # type: ignore[union-attr]
    await again.server.aclose()


async def test_a_version_whose_loading_ends_the_agent_is_given_up_after_some_starts(device: Device) -> None:
    good = device.publish(version(1), "dp-1")
    await device.converge(good)
    wanted = device.publish(version(2), "dp-2")

    class EndedError(BaseException):
        """What a crash inside the runtime looks like to the code around it: nothing more happens."""

    async def crash(*_: object) -> None:
        raise EndedError

    for _ in range(4):
        device = await device.restart()
        assert device.serves == 1
        object.__setattr__(device.updater, "_load", crash)
        with pytest.raises(EndedError):
            await device.converge(wanted)
    device = await device.restart()
    with pytest.raises(DeploymentFailedError, match="the agent ended 4 times"):
        await device.converge(wanted)
    assert (device.serves, roles(device)) == (1, (1, None, None))
    await device.server.aclose()


async def test_an_active_version_that_never_proves_itself_gives_way_to_the_previous(device: Device) -> None:
    await device.converge(device.publish(version(1), "dp-1"))
    wanted = device.publish(version(2), "dp-2")
    await device.converge(wanted)
    file = device.updater.file
    tried = file.slots.active.model_copy(update={"state": "unproven", "boots": 3})  # type: ignore[union-attr]
    file.put(file.slots.model_copy(update={"active": tried}))

    again = await device.restart()
    assert (again.serves, roles(again)) == (1, (1, None, None))
    with pytest.raises(DeploymentFailedError, match="starts did not prove it"):
        await again.converge(wanted)
    await again.server.aclose()


async def test_on_a_full_disk_a_version_that_never_proves_itself_gives_way_all_the_same(device: Device) -> None:
    await device.converge(device.publish(version(1), "dp-1"))
    await device.converge(device.publish(version(2), "dp-2"))
    file = device.updater.file
    tried = file.slots.active.model_copy(update={"state": "unproven", "boots": 4})  # type: ignore[union-attr]
    file.put(file.slots.model_copy(update={"active": tried}))

    again = Device(device.folder, device.source)
    with mock.patch("shoal_agent.slots.replace_file", side_effect=OSError(errno.ENOSPC, "No space left on device")):
        with pytest.raises(DiskError, match="No space left"):
            await again.updater.boot()
        assert again.serves == 1
    await again.server.aclose()


async def test_a_cancelled_attempt_leaves_what_serves_and_can_be_begun_again(device: Device) -> None:
    await device.converge(device.publish(version(1), "dp-1"))
    wanted = device.publish(version(2), "dp-2")
    device.source.delay_s = lambda _: 10.0
    with anyio.move_on_after(0.05):
        await device.converge(wanted)
    assert (device.serves, roles(device)) == (1, (1, None, None))
    device.source.delay_s = lambda _: 0.0
    await device.converge(wanted)
    assert device.serves == 2


async def _deployed(folder: Path) -> tuple[Device, DesiredModel]:
    """Return a device that serves version 1, and the wish for version 2."""
    device = Device(folder)
    await device.converge(device.publish(version(1), "dp-1"))
    return device, device.publish(version(2), "dp-2")


async def test_a_power_cut_at_any_step_of_a_deployment_leaves_a_version_that_serves(tmp_path: Path) -> None:
    served: list[int] = []
    async for cut, device, wanted in cut_deployments(tmp_path, _deployed):
        again = await device.restart()
        served.append(again.serves or 0)  # 0 stands for neither
        await again.converge(wanted)
        assert (again.serves, roles(again)) == (2, (2, 1, None)), f"cut before step {cut}"
        await again.server.aclose()
    assert served == sorted(served)  # version 1 up to some step, version 2 from there, never neither
    assert set(served) == {1, 2}


async def test_a_model_that_is_no_longer_wanted_is_gone_after_a_start_too(device: Device) -> None:
    await device.converge(device.publish(version(1), "dp-1"))
    await device.updater.remove()
    assert device.serves is None
    assert (await device.restart()).serves is None


async def test_a_manifest_that_no_role_lists_is_held_and_never_marked_bad(device: Device) -> None:
    await device.converge(device.publish(version(1), "dp-1"))
    wanted = device.publish(version(2), "dp-2")
    device.trust.listed.remove(wanted.manifest.sha256)
    delivered = sum(device.source.delivered.values())

    with pytest.raises(HeldError, match="no trusted role lists it"):
        await device.converge(wanted)

    assert device.serves == 1
    assert device.updater.file.slots.failure is None
    assert sum(device.source.delivered.values()) == delivered, "nothing is fetched before it is listed"
    device.trust.listed.add(wanted.manifest.sha256)
    await device.converge(wanted)
    assert device.serves == 2


async def test_a_start_serves_what_was_verified_before_without_asking_anybody(device: Device) -> None:
    await device.converge(device.publish(version(1), "dp-1"))
    device.source.is_down = True

    again = await device.restart()

    assert again.serves == 1
    assert again.trust.asked == 0
