"""A stand-in for a cluster of Kubernetes: its API on loopback, which holds each request against the API's schemas.

What a Job's pods would run is run here, as processes of this machine with the Job's own commands: the volume's mount
path is a folder, the first pod's name is loopback, and `python` is this one. Objects of other kinds are refused.
"""

import json
import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate
import yaml

VERSION: Final = "1.37"
"""Of the schemas."""
_PATHS: Final = {
    "Job": re.compile(r"^/apis/batch/v1/namespaces/([^/]+)/jobs(?:/([^/]+))?$"),
    "Service": re.compile(r"^/api/v1/namespaces/([^/]+)/services(?:/([^/]+))?$"),
    "Pod": re.compile(r"^/api/v1/namespaces/([^/]+)/pods(?:/([^/]+))?(/log)?$"),
}
_INDEX: Final = "batch.kubernetes.io/job-completion-index"
Manifest = dict[str, Any]


class ClusterSimulator:
    """The objects of one cluster, and the processes of its pods.

    Args:
        folder: Stands for every volume; logs of pods lie beside it.
        port: Where pods of a Job meet, in place of the port in their command.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.objects: dict[tuple[str, str], Manifest] = {}
        self.created: list[Manifest] = []
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.version = 1
        self.lock = threading.Condition()
        self._watchers: list[tuple[str, queue.Queue[Manifest]]] = []
        self._threads: list[threading.Thread] = []

    def create(self, kind: str, body: Manifest) -> tuple[int, Manifest]:
        """Create an object as the API would."""
        try:
            kubernetes_validate.validate(body, VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            return 422, _status(422, "Invalid", f"{'.'.join(map(str, error.path))}: {error.message}")
        name = body["metadata"]["name"]
        if (kind, name) in self.objects:
            return 409, _status(409, "AlreadyExists", f"{kind} {name} already exists")
        self.created.append(json.loads(json.dumps(body)))
        self.put(kind, {**body, "status": {}}, "ADDED")
        if kind == "Job":
            self._start(body)
        return 201, self.objects[kind, name]

    def put(self, kind: str, body: Manifest, event: str) -> None:
        """Keep an object and tell those who watch."""
        with self.lock:
            self.version += 1
            body["metadata"]["resourceVersion"] = str(self.version)
            if event == "DELETED":
                self.objects.pop((kind, body["metadata"]["name"]), None)
            else:
                self.objects[kind, body["metadata"]["name"]] = body
            for watched, told in self._watchers:
                if watched == kind:
                    told.put({"type": event, "object": json.loads(json.dumps(body))})
            self.lock.notify_all()

    def delete(self, kind: str, name: str) -> tuple[int, Manifest]:
        """Delete an object, with the pods of a Job."""
        if (kind, name) not in self.objects:
            return 404, _status(404, "NotFound", f"{kind} {name} not found")
        body = self.objects[kind, name]
        if kind == "Job":
            for pod, process in list(self.processes.items()):
                if pod.startswith(f"{name}-") and process.poll() is None:
                    process.terminate()
        self.put(kind, body, "DELETED")
        return 200, _status(200, "Success", "")

    def chosen(self, kind: str, query: dict[str, list[str]]) -> list[Manifest]:
        """Return the objects of a kind that a query's selectors choose."""
        found = [body for (one, _), body in self.objects.items() if one == kind]
        for selector in query.get("fieldSelector", []):
            found = [body for body in found if f"metadata.name={body['metadata']['name']}" == selector]
        for selector in query.get("labelSelector", []):
            key, _, value = selector.partition("=")
            found = [body for body in found if body["metadata"]["labels"].get(key) == value]
        return found

    @contextmanager
    def watching(self, kind: str) -> Iterator["queue.Queue[Manifest]"]:
        """Give a queue of what happens to objects of a kind."""
        told: queue.Queue[Manifest] = queue.Queue()
        with self.lock:
            self._watchers.append((kind, told))
        try:
            yield told
        finally:
            with self.lock:
                self._watchers.remove((kind, told))

    def stop(self) -> None:
        """End the processes of all pods, and wait for what watches them."""
        for process in list(self.processes.values()):
            if process.poll() is None:
                process.kill()
        for thread in self._threads:
            thread.join()

    def log(self, pod: str) -> Path:
        """Return where a pod's output goes."""
        return self.folder.parent / f"{pod}.log"

    def _start(self, job: Manifest) -> None:
        count = job["spec"].get("completions", 1)
        ended: queue.Queue[bool] = queue.Queue()
        for index in range(count):
            thread = threading.Thread(target=self._run_index, args=(job, index, ended))
            self._threads.append(thread)
            thread.start()
        thread = threading.Thread(target=self._finish, args=(job, count, ended))
        self._threads.append(thread)
        thread.start()

    def _run_index(self, job: Manifest, index: int, ended: "queue.Queue[bool]") -> None:
        """Run an index's pod, again after each failure up to the limit."""
        spec = job["spec"]
        limit = spec.get("backoffLimitPerIndex", spec.get("backoffLimit", 6))
        for attempt in range(limit + 1):
            if self._run_pod(job, index, attempt):
                ended.put(item=True)
                return
            if ("Job", job["metadata"]["name"]) not in self.objects:
                break
        ended.put(item=False)

    def _run_pod(self, job: Manifest, index: int, attempt: int) -> bool:
        name = f"{job['metadata']['name']}-{index}-{attempt}"
        template = job["spec"]["template"]
        metadata = {"name": name, "labels": template["metadata"]["labels"], "annotations": {_INDEX: str(index)}}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        [container] = template["spec"]["containers"]
        environment = {one["name"]: one["value"] for one in container["env"]}
        with self.log(name).open("wb") as log:
            process = subprocess.Popen(
                [self._here(word, job) for word in container["command"]],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ
                | {"PYTHONPATH": os.pathsep.join(one for one in sys.path if one), "GLOO_SOCKET_IFNAME": "lo"}
                | environment,
                start_new_session=True,
            )
        self.processes[name] = process
        self.put("Pod", {**pod, "status": {"phase": "Running"}}, "ADDED")
        is_done = process.wait() == 0
        self.put("Pod", {**pod, "status": {"phase": "Succeeded" if is_done else "Failed"}}, "MODIFIED")
        return is_done

    def _here(self, word: str, job: Manifest) -> str:
        """Return a word of a command as this machine has it."""
        name = job["metadata"]["name"]
        [container] = job["spec"]["template"]["spec"]["containers"]
        [mount] = [one["mountPath"] for one in container["volumeMounts"] if one["name"] == "job"]
        word = sys.executable if word == "python" else word
        word = re.sub(rf"{name}-0\.{name}:\d+", f"127.0.0.1:{self.port}", word)
        return f"{self.folder}{word.removeprefix(mount)}" if word.startswith(f"{mount}/") else word

    def _finish(self, job: Manifest, count: int, ended: "queue.Queue[bool]") -> None:
        results = [ended.get() for _ in range(count)]
        body = self.objects.get(("Job", job["metadata"]["name"]))
        if body is None:
            return
        kind = "Complete" if all(results) else "Failed"
        reason = "" if all(results) else "BackoffLimitExceeded"
        condition = {"type": kind, "status": "True", "reason": reason, "message": "pods have failed" if reason else ""}
        self.put("Job", {**body, "status": {"conditions": [condition]}}, "MODIFIED")


def _status(code: int, reason: str, message: str) -> Manifest:
    said = "Success" if code < 300 else "Failure"
    return {"apiVersion": "v1", "kind": "Status", "status": said, "reason": reason, "message": message, "code": code}


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    cluster: ClusterSimulator

    def do_POST(self) -> None:
        kind, _, _ = self._place()
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(*self.cluster.create(kind, body))

    def do_DELETE(self) -> None:
        kind, name, _ = self._place()
        self._answer(*self.cluster.delete(kind, name))

    def do_GET(self) -> None:
        kind, name, is_log = self._place()
        query = parse_qs(urlsplit(self.path).query)
        if is_log:
            self._log(name, is_followed=query.get("follow") == ["True"])
        elif name:
            body = self.cluster.objects.get((kind, name))
            self._answer(*((200, body) if body else (404, _status(404, "NotFound", f"{kind} {name} not found"))))
        elif query.get("watch") == ["True"]:
            self._watch(kind, query)
        else:
            group = "batch/v1" if kind == "Job" else "v1"
            metadata = {"resourceVersion": str(self.cluster.version)}
            items = self.cluster.chosen(kind, query)
            self._answer(200, {"apiVersion": group, "kind": f"{kind}List", "metadata": metadata, "items": items})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's
        """Say nothing."""

    def _place(self) -> tuple[str, str, bool]:
        path = urlsplit(self.path).path
        for kind, pattern in _PATHS.items():
            found = pattern.match(path)
            if found:
                return kind, found[2] or "", kind == "Pod" and bool(found[3])
        raise LookupError(path)

    def _answer(self, code: int, body: Manifest) -> None:
        content = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _watch(self, kind: str, query: dict[str, list[str]]) -> None:
        self._begin("application/json")
        with self.cluster.watching(kind) as told:
            if "resourceVersion" not in query:
                for body in self.cluster.chosen(kind, query):
                    self._send({"type": "ADDED", "object": body})
            else:  # what happened between the look and the watch
                since = int(query["resourceVersion"][0])
                for body in self.cluster.chosen(kind, query):
                    if int(body["metadata"]["resourceVersion"]) > since:
                        self._send({"type": "MODIFIED", "object": body})
            try:
                with suppress(queue.Empty):
                    while True:
                        self._send(told.get(timeout=float(query["timeoutSeconds"][0])))
                self._chunk(b"")
            except OSError:  # whoever watched has seen enough
                self.close_connection = True

    def _log(self, pod: str, *, is_followed: bool) -> None:
        self._begin("text/plain")
        process = self.cluster.processes[pod]
        if is_followed:
            process.wait()
        self._chunk(self.cluster.log(pod).read_bytes() or b"\n")
        self._chunk(b"")

    def _begin(self, kind: str) -> None:
        """Begin an answer that comes in pieces."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _send(self, event: Manifest) -> None:
        self._chunk(json.dumps(event).encode() + b"\n")

    def _chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(content), content))
        self.wfile.flush()


@contextmanager
def running_cluster(folder: Path, port: int) -> Iterator[tuple[ClusterSimulator, Path]]:
    """Serve a cluster's API on loopback; gives it and a kubeconfig file."""
    (folder / "volume").mkdir(parents=True)
    cluster = ClusterSimulator(folder / "volume", port)
    handler = type("Handler", (_Handler,), {"cluster": cluster})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    name = {"name": "here"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{**name, "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{**name, "user": {}}],
        "contexts": [{**name, "context": {"cluster": "here", "user": "here"}}],
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    try:
        yield cluster, folder / "kubeconfig"
    finally:
        cluster.stop()
        server.shutdown()
        thread.join()
        server.server_close()
