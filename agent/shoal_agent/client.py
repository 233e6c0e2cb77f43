"""A small client of the device's own endpoint, and the same calls without one.

```python
from shoal_agent.client import Client

with Client() as agent:  # http://127.0.0.1:8080; or Client("unix:/run/shoal-agent.sock")
    print(agent.predict([5.1, 3.5, 1.4, 0.2], model="iris"))
with Client.in_process("/var/lib/shoal") as agent:  # the same, without asking anybody
    print(agent.predict([5.1, 3.5, 1.4, 0.2], model="iris"))
```
"""

import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from typing_extensions import Self

from shoal_agent.client_connection import TIMEOUT_S, connect, refused, stream_predictions, unreachable

if TYPE_CHECKING:
    from shoal_agent.engines import Array
    from shoal_agent.in_process import InProcessClient


class Client:
    """One keep-alive connection to an agent, or to any server of the Open Inference Protocol. Not for several threads.

    Args:
        url: `http://host:port`, `https://host:port`, or `unix:/path/of/the/socket`.
        key: The key of a remote endpoint (`shoal-agent api-keys create`).
        timeout_s: Of each call.
    """

    def __init__(self, url: str = "http://127.0.0.1:8080", key: str = "", timeout_s: float = TIMEOUT_S) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._timeout_s = timeout_s
        self._connection = connect(url, timeout_s)
        self._json_bytes = 0

    @staticmethod
    def in_process(data: "str | PathLike[str]", cache_mb: int = 0) -> "InProcessClient":
        """Return a client that loads what the device serves into this process.

        Args:
            data: The agent's folder, which is only read.
            cache_mb: What answers that are kept for inputs that come again may take; 0: none is kept.
        """
        from shoal_agent.in_process import InProcessClient

        return InProcessClient(Path(data), cache_mb)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def predict(
        self,
        features: "Sequence[Any] | Mapping[str, Any] | bytes | None" = None,
        model: str = "",
        version: str = "latest",
        *,
        entity_id: str = "",
    ) -> dict[str, Any]:
        """Return the prediction for one sample, or `predictions` for several.

        Args:
            features: Values in the model's order, or by the features' names; a list of lists is several samples. An
                image as it is, JPEG or PNG, for a model that takes images.
            model: Its name; empty where one alone is served.
            version: A number, or `latest`.
            entity_id: In place of features: what the device's pipelines keep them of.

        Raises:
            AgentError: Nobody answers, or the request is refused.
        """
        about = {"model_name": model, "version": version}
        if isinstance(features, bytes) and not entity_id:
            kind = {"Content-Type": "image/png" if features.startswith(b"\x89PNG") else "image/jpeg"}
            predicted: dict[str, Any] = json.loads(self._ask("POST", f"/predict?{urlencode(about)}", features, kind))
            return predicted
        given: dict[str, Any] = {} if features is None else {"features": _plain(features)}
        body = about | given | ({"entity_id": entity_id} if entity_id else {})
        answer: dict[str, Any] = json.loads(self._ask("POST", "/predict", json.dumps(body).encode()))
        return answer

    def infer(self, model: str, inputs: "Mapping[str, Array]", version: str = "") -> "dict[str, Array]":
        """Return a model's outputs by name, as binary data both ways.

        Args:
            model: Its name.
            inputs: Arrays by the model's input names, of its datatypes and shapes.
            version: A number; empty for what serves.

        Raises:
            AgentError: Nobody answers, or the request is refused.
        """
        from shoal_agent.serving.wire import read_answer, write_request

        body, json_bytes = write_request(inputs)
        place = f"/v2/models/{quote(model, safe='')}" + (f"/versions/{quote(version, safe='')}" if version else "")
        headers = {"Inference-Header-Content-Length": str(json_bytes)}
        return read_answer(self._ask("POST", f"{place}/infer", body, headers), self._json_bytes)

    def models(self) -> list[dict[str, Any]]:
        """Return name, version and state of each model that there is.

        Raises:
            AgentError: Nobody answers.
        """
        index: list[dict[str, Any]] = json.loads(self._ask("POST", "/v2/repository/index", b"{}"))
        return index

    def stream(self, model: str = "") -> Iterator[dict[str, Any]]:
        """Yield each prediction as the device makes it, whoever asked for it, until the agent ends.

        A reader that is too slow loses the oldest: `{"dropped": 7}` says so in their place. The stream has a connection
        of its own; closing the iterator closes that.

        Args:
            model: Whose predictions; empty: all.

        Raises:
            AgentError: Nobody answers, or the request is refused.
        """
        return stream_predictions(self._url, model, self._headers, self._timeout_s)

    def feedback(self, model: str, answer_id: str, labels: Sequence[int]) -> None:
        """Tell the true labels of what was predicted, by the answer's `id`.

        Raises:
            AgentError: Nobody answers, or the answer is not known.
        """
        body = {"model": model, "id": answer_id, "labels": list(labels)}
        self._ask("POST", "/shoal/v1/labels", json.dumps(body).encode())

    def _ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
        doing = f"asking the agent at {self._url}: {method} {path}"
        try:
            response = self._send(method, path, body, {**self._headers, **(headers or {})})
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise unreachable(doing, error) from error
        self._json_bytes = int(response.headers.get("Inference-Header-Content-Length", 0))
        if response.status != http.client.OK:
            raise refused(doing, response.status, content)
        return content

    def _send(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        """Send a request; once more where the agent had closed the idle connection."""
        is_fresh = self._connection.sock is None
        try:
            self._connection.request(method, path, body, dict(headers))
            return self._connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            self._connection.close()
            if is_fresh:
                raise
        self._connection.request(method, path, body, dict(headers))
        return self._connection.getresponse()


def _plain(features: Any) -> Any:  # noqa: ANN401 - lists, mappings or arrays
    return features.tolist() if hasattr(features, "tolist") else features
