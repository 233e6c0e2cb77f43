"""How the routes of batch inference are driven, see `drivers`."""

from collections.abc import Callable
from typing import Any

from tests.hub.audit.site import Site

TEXT = "name: nightly\nsource: {path: in.csv}\nmodel: colours@1\nsink: {path: out}\n"
Prepare = Callable[[Site], Callable[[], Any]]


def _set(site: Site) -> Callable[[], Any]:
    return lambda: site.send("PUT", "/batch-inference/nightly", json={"text": TEXT})


def _of(method: str, path: str = "", **body: Any) -> Prepare:
    def prepare(site: Site) -> Callable[[], Any]:
        _set(site)()
        return lambda: site.send(method, f"/batch-inference/nightly{path}", **({"json": body} if body else {}))

    return prepare


def _of_run(command: str) -> Prepare:
    def prepare(site: Site) -> Callable[[], Any]:
        run = _of("POST", "/runs")(site)()["id"]
        where = f"/batch-inference/nightly/runs/{run}"
        if command == "resume":
            site.send("POST", f"{where}/cancel")
        return lambda: site.send("POST", f"{where}/{command}")

    return prepare


INFERENCE: dict[tuple[str, str], tuple[Prepare, str, str]] = {
    ("PUT", "/api/v1/batch-inference/{name}"): (_set, "batch_inference.set_one", "batch-inference/nightly"),
    ("DELETE", "/api/v1/batch-inference/{name}"): (
        _of("DELETE"),
        "batch_inference.remove_one",
        "batch-inference/nightly",
    ),
    ("PUT", "/api/v1/batch-inference/{name}/schedule"): (
        _of("PUT", "/schedule", is_enabled=False),
        "batch_inference.switch_one",
        "batch-inference/nightly",
    ),
    ("POST", "/api/v1/batch-inference/{name}/runs"): (
        _of("POST", "/runs"),
        "batch_inference.begin_one",
        "batch-inference/nightly",
    ),
    ("POST", "/api/v1/batch-inference/{name}/runs/{run_id}/cancel"): (
        _of_run("cancel"),
        "batch_inference.cancel_one",
        "batch-inference/nightly/runs/i-",
    ),
    ("POST", "/api/v1/batch-inference/{name}/runs/{run_id}/resume"): (
        _of_run("resume"),
        "batch_inference.resume_one",
        "batch-inference/nightly/runs/i-",
    ),
}
