"""Frames of a V4L2 camera, by GStreamer's own program: three numbers a frame, the picture itself goes nowhere."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import anyio
import numpy as np
from anyio.abc import ByteReceiveStream

from shoal_agent.features.errors import FeaturesError, UnreachableError
from shoal_agent.features.sources.source import Inbox
from shoal_contract.features import CameraSource
from shoal_numerics.features.events import Arrival

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PROGRAM: Final = "gst-launch-1.0"
_PACKAGES: Final = "apt-get install gstreamer1.0-tools gstreamer1.0-plugins-good"
_BRIGHTEST: Final = 255.0


class CameraFrames:
    """Makes an event of each frame.

    Args:
        declared: Which camera, and at which size and rate.
        clock_ns: The time of what comes.
    """

    def __init__(self, declared: CameraSource, clock_ns: Callable[[], int]) -> None:
        self._declared = declared
        self._clock_ns = clock_ns

    async def run(self, inbox: Inbox, on_ready: Callable[[], None]) -> None:
        """Put an event for each frame into `inbox`.

        Raises:
            FeaturesError: This device has no GStreamer.
            UnreachableError: There is no such camera, or it has ended.
        """
        program = shutil.which(_PROGRAM)
        if program is None:
            message = f"opening the camera {self._declared.path}: {_PROGRAM} is not installed"
            raise FeaturesError(message, f"install it on the device: {_PACKAGES}")
        if not await anyio.Path(self._declared.path).exists():
            remedy = "check its cable, and its number: v4l2-ctl --list-devices"
            raise UnreachableError(f"opening the camera {self._declared.path}: no such device", remedy)
        async with await anyio.open_process(
            [program, *self._arguments()], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                if process.stdout is not None:
                    await self._read(process.stdout, inbox, on_ready)
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
        raise UnreachableError(f"reading the camera {self._declared.path}: {_PROGRAM} has ended")

    def _arguments(self) -> list[str]:
        asked = self._declared
        form = f"video/x-raw,format=GRAY8,width={asked.width},height={asked.height},framerate={asked.frames_per_s}/1"
        steps = [f"v4l2src device={asked.path}", "videoconvert", "videoscale", "videorate", form, "fdsink fd=1"]
        return ["-q", *" ! ".join(steps).split(" ")]

    async def _read(self, stream: ByteReceiveStream, inbox: Inbox, on_ready: Callable[[], None]) -> None:
        former: NDArray[np.uint8] | None = None
        # GStreamer pads each line of a frame to four bytes.
        stride = -(-self._declared.width // 4) * 4
        size = stride * self._declared.height
        waiting = bytearray()
        async for part in stream:
            waiting += part
            while len(waiting) >= size:
                lines = np.frombuffer(bytes(waiting[:size]), dtype=np.uint8).reshape(-1, stride)
                frame = lines[:, : self._declared.width]
                del waiting[:size]
                event = frame_event(frame, former)
                inbox.put([Arrival(json.dumps(event).encode(), self._clock_ns())])
                former = frame
                on_ready()


def frame_event(frame: NDArray[np.uint8], former: NDArray[np.uint8] | None) -> dict[str, float]:
    """Return what is told of a frame.

    Args:
        frame: (height, width) uint8, grey.
        former: The one before, None for the first.

    Returns:
        `brightness`, the mean; `contrast`, the standard deviation; `motion`, the mean absolute difference from the
        former frame; each from 0 to 1.
    """
    grey = frame.astype(np.float32) / _BRIGHTEST
    motion = 0.0 if former is None else float(np.abs(grey - former.astype(np.float32) / _BRIGHTEST).mean())
    return {"brightness": float(grey.mean()), "contrast": float(grey.std()), "motion": motion}
