"""Serves the model `tiny` and has the device's own updater roll out one version after the other, told by its input.

Reads lines: `swap` has the next version made and published, which a hub does elsewhere, and then fetched, verified,
loaded, tested and served; `end` ends. Writes the port, then for each swap the seconds, by the system's monotonic clock,
at which the device began and ended.
"""

import sys
import tempfile
import time
from pathlib import Path

import anyio
import anyio.to_thread
import onnx
from tests.agent.simulators.device import Device, version
from tests.fixtures import tiny

from shoal_agent.endpoint import Address, Listener
from shoal_agent.interpreter import put_answers_first
from shoal_agent.monitor import Monitor
from shoal_agent.serving import Inference, create_router
from shoal_contract.desired import DesiredModel
from shoal_contract.ids import sha256_hex
from shoal_contract.manifest import Variant


def file_of(number: int) -> bytes:
    """Return the tiny model's file, another one for each version."""
    model = onnx.load_from_string((tiny.FILES / "classify.onnx").read_bytes())
    model.doc_string = str(number)
    content: bytes = model.SerializeToString()
    return content


async def main() -> None:
    """Serve until told to end."""
    with tempfile.TemporaryDirectory() as folder:
        device = Device(Path(folder))
        await converge(device, publish(device, 1), 1)
        put_answers_first()  # as the agent does
        async with anyio.create_task_group() as group:
            listener = Listener(create_router(Inference(device.server, Monitor())))
            print(await group.start(listener.serve, Address()), flush=True)
            number = 1
            while (await anyio.to_thread.run_sync(sys.stdin.readline)).strip() == "swap":
                number += 1
                wanted = await anyio.to_thread.run_sync(publish, device, number)  # the hub's part, in no time of a swap
                began_s = time.monotonic()
                await converge(device, wanted, number)
                print(began_s, time.monotonic(), flush=True)
            group.cancel_scope.cancel()


def publish(device: Device, number: int) -> DesiredModel:
    """Make a version as a hub would, and return the section that asks for it."""
    content = file_of(number)

    def own(variant: Variant) -> Variant:
        return variant.model_copy(update={"sha256": sha256_hex(content), "size_bytes": len(content)})

    return device.publish(version(number, own), f"dp-{number}", file=content)


async def converge(device: Device, wanted: DesiredModel, number: int) -> None:
    """Have the device converge on a version."""
    await device.converge(wanted, (1, number))
    if device.serves != number:
        message = f"version {number} does not serve: {device.told[-3:]}"
        raise RuntimeError(message)


if __name__ == "__main__":
    anyio.run(main)
