"""Takes the body of a request into the artifact store while it arrives, in the memory of a block or two."""

from contextlib import ExitStack

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from shoal_hub.context import HubContext
from shoal_hub.errors import InvalidInputError, TooLargeError
from shoal_hub.registry.artifacts import StoredArtifact
from shoal_hub.registry.incoming import GATHERED_BYTES, Incoming, receiving
from shoal_hub.tracking.files import check_room


async def receive(request: Request, hub: HubContext) -> StoredArtifact:
    """Store a request's body.

    Raises:
        InvalidInputError: The client broke off.
        StorageFullError: The disk is full.
        TooLargeError: The settings allow no file of this size, or no more files.
    """
    declared = request.headers.get("content-length", "0")
    most_bytes = hub.settings.tracking_max_file_bytes
    await run_in_threadpool(_check, hub, int(declared) if declared.isdigit() else most_bytes + 1)
    with ExitStack() as open_files:
        incoming = await run_in_threadpool(
            open_files.enter_context, receiving(hub.artifacts, hub.settings.data / "uploads")
        )
        await _take(request, incoming, most_bytes)
        if declared.isdigit() and int(declared) not in {0, incoming.size_bytes}:
            raise InvalidInputError(f"{incoming.size_bytes} of {declared} bytes came", "send the file again")
        return await run_in_threadpool(incoming.finish, hub.artifacts)


async def _take(request: Request, incoming: Incoming, most_bytes: int) -> None:
    gathered: list[bytes] = []
    size_bytes = came_bytes = 0
    async for block in request.stream():
        gathered.append(block)
        size_bytes += len(block)
        came_bytes += len(block)
        if came_bytes > most_bytes:
            raise TooLargeError(f"an artifact of more than {most_bytes} bytes", "raise SHOAL_TRACKING_MAX_FILE_BYTES")
        if size_bytes >= GATHERED_BYTES:
            await run_in_threadpool(incoming.write, b"".join(gathered))
            gathered, size_bytes = [], 0
    await run_in_threadpool(incoming.write, b"".join(gathered))


def _check(hub: HubContext, size_bytes: int) -> None:
    with hub.database.session() as session:
        check_room(session, hub.settings, size_bytes)
