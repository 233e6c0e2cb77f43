"""The client: one object a hub, with the API's routes by subject."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import httpx
from typing_extensions import Self

from shoal_client.alerts import Alerts
from shoal_client.audit import Audit
from shoal_client.automation import Automation
from shoal_client.batch_inference import BatchInference
from shoal_client.batches import Batches
from shoal_client.captures import Captures
from shoal_client.compositions import Compositions
from shoal_client.compression import Compression
from shoal_client.enrolment import DeviceCa, Enrolments
from shoal_client.errors import JobFailedError
from shoal_client.features import Features
from shoal_client.fleet import Event, Health
from shoal_client.groups import Groups
from shoal_client.models import Models
from shoal_client.online_features import OnlineFeatures
from shoal_client.operators import Caller
from shoal_client.people import Approvals, OperatorTokens, Users
from shoal_client.performance import Performance
from shoal_client.pins import Pins
from shoal_client.profile import Profile, read_profile
from shoal_client.registry import Job
from shoal_client.resources import Devices, Drift, Federated, Tokens
from shoal_client.rollouts import Rollouts
from shoal_client.run_log import RunLog
from shoal_client.runs import Runs
from shoal_client.sites import Sites
from shoal_client.traffic import TrafficLedger
from shoal_client.trainings import Trainings
from shoal_client.transport import Transport
from shoal_client.trials import Trials
from shoal_client.tuf import Trust

_LOOK_S = 0.3
_SILENCE_S = 60.0
"""A live stream says something every 14 s: silence this long is a dead connection."""


class ShoalClient:
    """Speaks to one hub as one operator; also a context manager.

    Args:
        url: The hub's address, such as `https://hub.example:8443`.
        token: The operator's token, `shoal_…`.
        ca_path: The hub's CA as PEM; None trusts what the system trusts.
        http: Another httpx transport, for tests.
    """

    def __init__(
        self, url: str, token: str, ca_path: Path | None = None, http: httpx.BaseTransport | None = None
    ) -> None:
        self._transport = Transport(url, token, ca_path, http)
        self.tokens = Tokens(self._transport)
        self.devices = Devices(self._transport)
        self.pins = Pins(self._transport)
        self.groups = Groups(self._transport)
        self.sites = Sites(self._transport)
        self.features = Features(self._transport)
        self.online_features = OnlineFeatures(self._transport)
        self.compositions = Compositions(self._transport)
        self.captures = Captures(self._transport)
        self.batches = Batches(self._transport)
        self.batch_inference = BatchInference(self._transport)
        self.traffic = TrafficLedger(self._transport)
        self.enrolments = Enrolments(self._transport)
        self.ca = DeviceCa(self._transport)
        self.models = Models(self._transport)
        self.compression = Compression(self._transport)
        self.runs = Runs(self._transport)
        self.trainings = Trainings(self._transport)
        self.rollouts = Rollouts(self._transport)
        self.trials = Trials(self._transport)
        self.drift = Drift(self._transport)
        self.performance = Performance(self._transport)
        self.alerts = Alerts(self._transport)
        self.federated = Federated(self._transport)
        self.trust = Trust(self._transport)
        self.users = Users(self._transport)
        self.operator_tokens = OperatorTokens(self._transport)
        self.approvals = Approvals(self._transport)
        self.audit = Audit(self._transport)
        self.automation = Automation(self._transport)

    @classmethod
    def from_profile(cls, profile: Profile | None = None) -> Self:
        """Open the hub of the CLI's profile.

        Raises:
            ProfileError: There is no profile.
        """
        profile = profile or read_profile()
        return cls(profile.url, profile.token.get_secret_value(), profile.ca_path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._transport.close()

    def follow(self, traceparent: str) -> None:
        """Have what the hub does for this client belong to a trace, where the hub makes traces.

        Args:
            traceparent: The caller's span, as W3C Trace Context has it; empty: none.
        """
        self._transport.follow(traceparent)

    def health(self) -> Health:
        """Return whether the hub answers."""
        return self._transport.call("GET", "/health", Health)

    def operator(self) -> Caller:
        """Return who the token speaks for, and what it may."""
        return self._transport.call("GET", "/operator", Caller)

    def run_log(self) -> RunLog:
        """Return what records a run in the hub's tracking."""
        return RunLog(self._transport)

    def jobs(self, *, limit: int = 100) -> list[Job]:
        """List jobs, newest first."""
        return self._transport.call("GET", "/jobs", list[Job], params={"limit": limit})

    def job(self, job_id: str) -> Job:
        """Return one job."""
        return self._transport.call("GET", f"/jobs/{job_id}", Job)

    def job_log(self, job_id: str) -> str:
        """Return the last part of a job's log."""
        return self._transport.fetch("GET", f"/jobs/{job_id}/log").decode(errors="replace")

    def follow_job_log(self, job_id: str) -> Iterator[str]:
        """Yield what a job writes as it does, to its end."""
        with self._transport.stream(f"/jobs/{job_id}/log/stream", read_timeout_s=_SILENCE_S) as response:
            kind = ""
            for line in response.iter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: ") and kind == "log":
                    yield json.loads(line.removeprefix("data: "))["text"]

    def cancel_job(self, job_id: str) -> Job:
        """Cancel a job that is queued or runs."""
        return self._transport.call("POST", f"/jobs/{job_id}/cancel", Job)

    def retry_job(self, job_id: str) -> Job:
        """Have a job that has failed or was cancelled done again."""
        return self._transport.call("POST", f"/jobs/{job_id}/retry", Job)

    def wait_for_job(self, job_id: str, progress: Callable[[Job], None] | None = None) -> Job:
        """Wait until a job has succeeded, and return it.

        Args:
            job_id: The job.
            progress: Told whenever it has come further.

        Raises:
            JobFailedError: It failed, or was cancelled.
        """
        last: Job | None = None
        while True:
            job = self.job(job_id)
            if progress is not None and job != last:
                progress(job)
            if job.state == "succeeded":
                return job
            if job.has_ended:
                raise JobFailedError(
                    f"job {job.id} ({job.kind}) {job.state}: {job.error}", f"read its log: shoal jobs log {job.id}"
                )
            last = job
            time.sleep(_LOOK_S)

    def events(
        self, *, device: str | None = None, subject: str | None = None, after: int | None = None, limit: int = 100
    ) -> list[Event]:
        """List events in order: the first after `after`, or without it the last `limit`."""
        params = {"device": device, "subject": subject, "after": after, "limit": limit}
        given = {name: value for name, value in params.items() if value is not None}
        return self._transport.call("GET", "/events", list[Event], params=given)

    def changes(self) -> Iterator[frozenset[str]]:
        """Yield what has changed at the hub ("devices", "rollouts", …) as it changes; first, once, an empty set."""
        with self._transport.stream("/events/stream", read_timeout_s=_SILENCE_S) as response:
            kind = ""
            for line in response.iter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: ") and kind in {"open", "changed"}:
                    yield frozenset(json.loads(line.removeprefix("data: ")).get("what", ()))

    def follow_events(
        self, *, device: str | None = None, subject: str | None = None, last: int = 10
    ) -> Iterator[Event]:
        """Yield the last events and then each new one."""
        after = 0
        for event in self.events(device=device, subject=subject, limit=last) if last else ():
            after = event.id
            yield event
        if not after:
            after = max((event.id for event in self.events(limit=1)), default=0)
        for _what in self.changes():
            while events := self.events(device=device, subject=subject, after=after):
                yield from events
                after = events[-1].id
