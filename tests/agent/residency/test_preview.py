"""What a device's programs and its command line are told of memory."""

from pathlib import Path

import anyio
import anyio.to_thread
import httpx
import pytest
from tests.agent.residency.conftest import Board
from tests.agent.test_cli import call

from shoal_agent.settings import MemorySettings

pytestmark = pytest.mark.anyio


async def test_each_model_is_shown_and_who_would_give_way(tmp_path: Path) -> None:
    board = Board(tmp_path, {"a": 40, "b": 40, "c": 40}, MemorySettings(budget_bytes=100, kept=("b",)), {"c": 1})
    for name in ("b", "a", "c"):
        await board.deploy(name)
    async with board.endpoint() as client:
        shown = (await client.get("/shoal/v1/memory")).json()
        assert (shown["budget_bytes"], shown["taken_bytes"]) == (100, 80)
        assert [(one["name"], one["is_loaded"], one["size_bytes"], one["priority"]) for one in shown["models"]] == [
            ("b", True, 40, 0),
            ("c", True, 40, 1),
            ("a", False, 40, 0),
        ]
        asked = (await client.get("/shoal/v1/memory?for=60&priority=1")).json()["preview"]
        assert asked == {"fits": True, "evicted": ["c"], "free_bytes": 0}
        asked = (await client.get("/shoal/v1/memory?for=60")).json()["preview"]
        assert (asked["fits"], asked["evicted"]) == (False, [])
        assert (await client.get("/shoal/v1/memory?for=x")).status_code == 400
        assert (await client.get("/shoal/v1/memory", headers={"origin": "http://web"})).status_code == 403
        text, document = await anyio.to_thread.run_sync(_on_the_command_line, tmp_path, client)
    assert "models take 80 bytes of 100" in text
    assert "a model of 60 bytes would be loaded; c would give way" in text
    assert '"evicted": ["c"]' in document
    await board.server.aclose()


def _on_the_command_line(data: Path, client: httpx.AsyncClient) -> tuple[str, str]:
    """Ask as the owner does."""
    (data / "run").mkdir(exist_ok=True)
    (data / "run" / "endpoint.json").write_text(f'{{"url": "{str(client.base_url).rstrip("/")}"}}')
    asked = ("memory", "--data", data, "--for", "60", "--priority", "1")
    return call(*asked).output, call(*asked, "--json").output
