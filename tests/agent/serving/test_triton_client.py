"""The stock tritonclient works with the endpoint: JSON and binary data both ways, all datatypes, all extensions."""

from typing import Any

import anyio
import pytest
from tests.agent.serving.conftest import running, served_tiny
from tests.agent.serving.echo import NAMES, EchoEngine, served_echo
from tests.agent.serving.stock_client import visit
from tests.checks.inference_protocol import TritonChecks


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What the client found at an endpoint with `tiny` and the echoes."""

    async def found_there() -> dict[str, Any]:
        async with running() as endpoint:
            await endpoint.server.swap("tiny", served_tiny())
            for kind, datatype in NAMES.items():
                await endpoint.server.swap(f"echo-{kind}", served_echo(f"echo-{kind}", EchoEngine(datatype)))
            return await visit(f"127.0.0.1:{endpoint.port}")

    return anyio.run(found_there)


class TestDevice(TritonChecks):
    """A device's endpoint."""
