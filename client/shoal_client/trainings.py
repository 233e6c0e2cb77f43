"""Trainings at the hub: a pipeline is sent with its small files, and a job runs it."""

import base64
from collections.abc import Mapping, Sequence

from shoal_client.fleet import Value
from shoal_client.transport import Transport


class Training(Value):
    """A training that was begun: its job, its run, and the model that it trains."""

    job: str
    run: str
    model: str


class Trainings:
    """Trainings at the hub."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def start(
        self,
        pipeline: str,
        files: Mapping[str, bytes] | None = None,
        *,
        is_registered: bool = False,
        aliases: Sequence[str] = (),
        is_fresh: bool = False,
        priority: int = 0,
    ) -> Training:
        """Have a pipeline trained.

        Args:
            pipeline: The text of its file.
            files: That it names, by their paths beside it.
            is_registered: Whether what comes of it is registered.
            aliases: Of that version; one is enough to have it registered.
            is_fresh: Whether steps are done again that were done before.
            priority: Of the job; the highest goes first.
        """
        body = {
            "pipeline": pipeline,
            "files": {name: base64.b64encode(content).decode() for name, content in (files or {}).items()},
            "is_registered": is_registered,
            "aliases": list(aliases),
            "is_fresh": is_fresh,
            "priority": priority,
        }
        return self._transport.call("POST", "/trainings", Training, json=body)
