"""A file as an answer, whole or in ranges of bytes (RFC 9110, section 14)."""

from typing import Any, Final

from fastapi import HTTPException
from fastapi.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

PARTS: Final[dict[int | str, dict[str, Any]]] = {206: {"description": "The ranges of bytes that were asked for"}}
"""For OpenAPI: what a route with such an answer says beside 200."""


class RangedFile(FileResponse):
    """A `FileResponse` that refuses a range in the API's form, as every other error is."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; a refusal goes to the handler of `HTTPException`, as nothing has been sent yet."""

        async def send_unless_refused(message: Message) -> None:
            status = message.get("status", 200)
            if status >= 400:  # noqa: PLR2004 - HTTP's own border
                ranges = {
                    name.decode(): value.decode() for name, value in message["headers"] if name == b"content-range"
                }
                raise HTTPException(status, f"reading the header Range of {scope['path']}: no such range", ranges)
            await send(message)

        await super().__call__(scope, receive, send_unless_refused)
