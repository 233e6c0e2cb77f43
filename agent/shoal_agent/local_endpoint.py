"""The running agent's endpoint, as the command line on the same device asks it."""

import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shoal_agent.errors import AgentError, DiskError


def endpoint_of(data: Path) -> str:
    """Return the address of the agent that works, or last worked, on a data folder.

    Raises:
        DiskError: None has.
    """
    path = data / "run" / "endpoint.json"
    try:
        return str(json.loads(path.read_text())["url"])
    except (OSError, ValueError, KeyError) as error:
        raise DiskError(f"looking for the agent's endpoint in {path}: {error}", "start it: shoal-agent run") from error


def is_live(url: str) -> bool:
    """Whether an agent answers there."""
    try:
        return bool(ask(url, "GET", "/v2/health/live")["live"])
    except AgentError:
        return False


def ask(url: str, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
    """Send one request and return its answer.

    Raises:
        AgentError: No agent answers, or it refuses.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=30)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None)
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise AgentError(f"asking the agent at {url}: {error}", "is it running? start it: shoal-agent run") from error
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise AgentError(f"asking the agent at {url}{path}: {answer.get('error', answer)}", "correct the input")
    return answer
