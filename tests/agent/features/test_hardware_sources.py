"""Serial lines over a pseudo-terminal, and frames of a program that stands in for GStreamer."""

import os
import stat
from pathlib import Path

import anyio
import numpy as np
import pytest
from tests.agent.features.conftest import until

from shoal_agent.backlog import Backlog
from shoal_agent.features import FeaturesError, UnreachableError
from shoal_agent.features.sources.camera import CameraFrames, frame_event
from shoal_agent.features.sources.serial import SerialLines
from shoal_contract.features import CameraSource, SerialSource
from shoal_numerics.features.events import Arrival

pytestmark = pytest.mark.anyio


async def test_serial_lines_come_as_they_end_and_a_pulled_cable_is_told() -> None:
    ours, theirs = os.openpty()
    source = SerialLines(SerialSource(path=os.ttyname(theirs), baud=115200), lambda: 7)
    inbox: Backlog[Arrival] = Backlog(10)
    async with anyio.create_task_group() as group:
        ended: list[UnreachableError] = []

        async def run() -> None:
            try:
                await source.run(inbox, list)
            except UnreachableError as error:
                ended.append(error)

        group.start_soon(run)
        await anyio.wait_all_tasks_blocked()
        os.write(ours, b"1.5\r\n2.")
        assert await inbox.take(5) == [Arrival(b"1.5\r", 7)]
        os.write(ours, b"5")
        await anyio.wait_all_tasks_blocked()
        assert len(inbox) == 0, "a line comes once it has ended"
        os.write(ours, b"\n")
        assert await inbox.take(5) == [Arrival(b"2.5", 7)]
        os.close(theirs)
        os.close(ours)
        await until(lambda: ended)
    assert "reading /dev/pts/" in str(ended[0])


async def test_a_serial_device_that_is_not_there_says_what_to_check() -> None:
    with pytest.raises(UnreachableError) as caught:
        await SerialLines(SerialSource(path="/dev/ttyNone9"), lambda: 0).run(Backlog(1), list)
    assert "dialout" in caught.value.remedy


async def test_a_device_without_gstreamer_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FeaturesError) as caught:
        await CameraFrames(CameraSource(), lambda: 0).run(Backlog(1), list)
    assert "gstreamer1.0-tools" in caught.value.remedy


async def test_a_camera_that_is_not_there_is_worth_another_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stand_in(tmp_path, b"", monkeypatch)
    with pytest.raises(UnreachableError, match="no such device"):
        await CameraFrames(CameraSource(path="/dev/video999"), lambda: 0).run(Backlog(1), list)


async def test_each_frame_is_an_event_and_a_camera_that_ends_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 18 wide: GStreamer pads each line to 20 bytes.
    padding = np.zeros((16, 2), dtype=np.uint8)
    frames = [np.full((16, 18), grey, dtype=np.uint8) for grey in (0, 51, 255)]
    _stand_in(tmp_path, b"".join(np.hstack([frame, padding]).tobytes() for frame in frames), monkeypatch)
    inbox: Backlog[Arrival] = Backlog(10)
    source = CameraFrames(CameraSource(width=18, height=16), lambda: 5)
    source._declared = source._declared.model_copy(update={"path": str(tmp_path)})  # a camera that is there
    with pytest.raises(UnreachableError, match="has ended"):
        await source.run(inbox, list)
    found = await inbox.take(10)
    assert [arrival.at_ns for arrival in found] == [5, 5, 5]
    assert b'"brightness": 0.2' in found[1].data
    assert b'"motion": 0.8' in found[2].data
    asked = (tmp_path / "asked").read_text()
    assert "v4l2src" in asked
    assert "width=18,height=16,framerate=10/1" in asked


def test_what_is_told_of_a_frame_lies_between_0_and_1() -> None:
    half = np.zeros((16, 16), dtype=np.uint8)
    half[:, 8:] = 255
    assert frame_event(half, None) == {"brightness": 0.5, "contrast": 0.5, "motion": 0.0}
    assert frame_event(half, 255 - half)["motion"] == 1.0


def _stand_in(folder: Path, frames: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program named as GStreamer's in front, which notes what it was asked and says these frames."""
    (folder / "frames").write_bytes(frames)
    program = folder / "gst-launch-1.0"
    program.write_text(f'#!/bin/sh\necho "$@" > {folder}/asked\ncat {folder}/frames\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
