"""Talks to a cluster of Kubernetes by its official client: creates what a training needs, follows it, and clears up."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple

from shoal_training.errors import LaunchError
from shoal_training.frameworks.libraries import of_extra
from shoal_training.launchers.kubernetes_manifests import CONTAINER, LABEL, Manifest

_GONE: Final = 404
_TIMEOUT_S: Final = 30
_WATCH_S: Final = 60
"""After which a watch is begun again: connections that were cut elsewhere say nothing."""
_BEGIN_S: Final = 3_600
"""How long pods may wait for a node before their log is no longer waited for; the Job is."""
_TOLD: Final = 2_000
"""Characters of a pod's log that an error shows."""


class Ended(NamedTuple):
    """How a Job has ended."""

    is_complete: bool
    reason: str


class Cluster:
    """One namespace of a cluster.

    Args:
        namespace: Where objects are created.
        context: Of the kubeconfig file; None: its current one, or the cluster that this pod runs in.

    Raises:
        LaunchError: No cluster is configured here.
        MissingLibraryError: The client is not installed.
    """

    def __init__(self, namespace: str, context: str | None = None) -> None:
        with of_extra("kubernetes", f"training in {namespace}"):
            from kubernetes import client, config

        try:
            try:
                # The client itself looks at KUBECONFIG when it is imported, and then no more.
                api = config.new_client_from_config(os.environ.get("KUBECONFIG"), context)
            except config.ConfigException:
                if context is not None:
                    raise
                settings = client.Configuration()
                config.load_incluster_config(settings)
                api = client.ApiClient(settings)
        except config.ConfigException as error:
            raise LaunchError(
                f"finding a cluster: {error}; set KUBECONFIG, or run this in a pod with a service account"
            ) from error
        self.namespace = namespace
        self._batch, self._core = client.BatchV1Api(api), client.CoreV1Api(api)

    def create(self, manifest: Manifest) -> None:
        """Create an object.

        Raises:
            LaunchError: The cluster refuses it, or can not be reached.
        """
        named = f"creating the {manifest['kind']} {manifest['metadata']['name']} in {self.namespace}"
        make: dict[str, Callable[..., Any]] = {
            "Job": self._batch.create_namespaced_job,
            "Service": self._core.create_namespaced_service,
        }
        with _says(named):
            make[manifest["kind"]](self.namespace, manifest, _request_timeout=_TIMEOUT_S, field_validation="Strict")

    def delete(self, name: str) -> None:
        """Delete a training's Job, its pods and its Service, as far as they are there.

        Raises:
            LaunchError: The cluster refuses it, or can not be reached.
        """
        for remove, options in (
            (self._batch.delete_namespaced_job, {"propagation_policy": "Foreground"}),
            (self._core.delete_namespaced_service, {}),
        ):
            with _says(f"deleting {name} in {self.namespace}", gone_is_fine=True):
                remove(name, self.namespace, _request_timeout=_TIMEOUT_S, **options)

    def wait(self, name: str) -> Ended:
        """Wait until a Job has ended.

        Raises:
            LaunchError: It is gone, or the cluster can not be reached.
        """
        from kubernetes import watch

        while True:
            with _says(f"following the Job {name}"):
                job = self._batch.read_namespaced_job(name, self.namespace, _request_timeout=_TIMEOUT_S)
                ended = _end_of(job)
                if ended is not None:
                    return ended
                for event in watch.Watch().stream(
                    self._batch.list_namespaced_job,
                    self.namespace,
                    field_selector=f"metadata.name={name}",
                    resource_version=job.metadata.resource_version,
                    timeout_seconds=_WATCH_S,
                ):
                    ended = _end_of(event["object"])
                    if ended is not None:
                        return ended
                    if event["type"] == "DELETED":
                        raise LaunchError(f"following the Job {name}: it was deleted; run the pipeline again")

    def may_be_followed(self, name: str) -> bool:
        """Return whether a Job of this name is there and has not failed.

        Raises:
            LaunchError: The cluster can not be reached.
        """
        job = self._job(name)
        ended = None if job is None else _end_of(job)
        return job is not None and (ended is None or ended.is_complete)

    def clear(self, name: str) -> None:
        """Delete a training's objects if there are any, and wait until its Job is gone.

        Raises:
            LaunchError: The cluster refuses it, can not be reached, or keeps the Job.
        """
        if self._job(name) is not None:
            self.delete(name)
            self._wait_until_gone(name)

    def _job(self, name: str) -> Any | None:  # noqa: ANN401 - the client's models have no useful types
        from kubernetes.client import ApiException

        with _says(f"looking for the Job {name}"):
            try:
                return self._batch.read_namespaced_job(name, self.namespace, _request_timeout=_TIMEOUT_S)
            except ApiException as error:
                if error.status != _GONE:
                    raise
                return None

    def log_lines(self, name: str) -> Iterator[str]:
        """Yield the lines of a training's first pod as they come, from its begin to its end.

        What is told on the way may be missed: an unreachable cluster ends it, and the wait for the Job says so.
        """
        from kubernetes import watch

        with suppress(LaunchError), _says(f"reading the log of {name}"):
            pods = watch.Watch().stream(
                self._core.list_namespaced_pod,
                self.namespace,
                label_selector=f"{LABEL}={name}",
                timeout_seconds=_BEGIN_S,
            )
            begun = (one["object"] for one in pods if one["object"].status.phase in {"Running", "Succeeded"})
            first = next((pod for pod in begun if _index(pod) == 0), None)
            if first is None:
                return
            answer = self._core.read_namespaced_pod_log(
                first.metadata.name, self.namespace, container=CONTAINER, follow=True, _preload_content=False
            )
            for line in answer:
                yield line.decode(errors="replace")

    def _wait_until_gone(self, name: str) -> None:
        from kubernetes import watch

        chosen = {"field_selector": f"metadata.name={name}"}
        with _says(f"waiting until the Job {name} is deleted"):
            found = self._batch.list_namespaced_job(self.namespace, **chosen, _request_timeout=_TIMEOUT_S)
            events = watch.Watch().stream(
                self._batch.list_namespaced_job,
                self.namespace,
                **chosen,
                resource_version=found.metadata.resource_version,
                timeout_seconds=_WATCH_S,
            )
            if found.items and not any(one["type"] == "DELETED" for one in events):
                raise LaunchError(f"deleting the Job {name}: it is there after {_WATCH_S} s; see its finalizers")

    def last_words(self, name: str) -> str:
        """Return the ends of the logs of the pods that failed, and why pods that did not begin have not."""
        told = []
        with _says(f"looking why {name} has failed"):
            for pod in self._pods(name):
                waiting = [one.state.waiting for one in pod.status.container_statuses or [] if one.state.waiting]
                told += [f"{pod.metadata.name}: {one.reason}: {one.message or ''}" for one in waiting]
                if pod.status.phase == "Failed":
                    log = self._core.read_namespaced_pod_log(pod.metadata.name, self.namespace, tail_lines=50)
                    told.append(f"{pod.metadata.name}: {log[-_TOLD:].strip()}")
        return "\n".join(told) or "no pod has left a log"

    def _pods(self, name: str) -> list[Any]:
        found = self._core.list_namespaced_pod(
            self.namespace, label_selector=f"{LABEL}={name}", _request_timeout=_TIMEOUT_S
        )
        return sorted(found.items, key=lambda pod: str(pod.metadata.name))


def _index(pod: Any) -> int:  # noqa: ANN401 - the client's models have no useful types
    """Return the place of a pod in an Indexed Job; 0 where it is the only one."""
    return int((pod.metadata.annotations or {}).get("batch.kubernetes.io/job-completion-index", 0))


def _end_of(job: Any) -> Ended | None:  # noqa: ANN401 - the client's models have no useful types
    for one in job.status.conditions or []:
        if one.status == "True" and one.type in {"Complete", "Failed"}:
            return Ended(one.type == "Complete", f"{one.reason or ''}: {one.message or ''}".strip(": "))
    return None


@contextmanager
def _says(doing: str, *, gone_is_fine: bool = False) -> Iterator[None]:
    """Let errors of the client say what was being done."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        if error.status != _GONE or not gone_is_fine:
            raise LaunchError(f"{doing}: the cluster says {error.status} {error.reason}: {_message(error)}") from error
    except HTTPError as error:
        raise LaunchError(f"{doing}: the cluster can not be reached: {error}; look at KUBECONFIG") from error


def _message(error: Any) -> str:  # noqa: ANN401 - the client's errors have no useful types
    try:
        return str(json.loads(error.body)["message"])[:_TOLD]
    except (KeyError, TypeError, ValueError):
        return str(error.body)[:_TOLD]
