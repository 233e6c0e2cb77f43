"""How the routes of features, compositions and captured samples are driven, see `drivers`."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from tests.hub.audit.site import Site
from tests.hub.captures.samples import add_capture
from tests.simulators.compositions import CASCADE, ENSEMBLE, add_member
from tests.simulators.feature_sets import features

from shoal_hub.database import utc_now


def _set_features(site: Site) -> Callable[[], Any]:
    return lambda: site.send("PUT", "/features/pumps", json=features())


def _of_features(method: str, path: str = "", *, is_assigned: bool = False) -> Callable[[Site], Callable[[], Any]]:
    def prepare(site: Site) -> Callable[[], Any]:
        _set_features(site)()
        site.send("POST", "/groups", json={"name": "plant", "devices": site.devices[:1]})
        where = f"/features/pumps{path.replace('{device}', site.devices[0])}"
        if is_assigned:
            site.send("PUT", where)
        return lambda: site.send(method, where)

    return prepare


def _of_view(method: str, path: str = "", **body: Any) -> Callable[[Site], Callable[[], Any]]:
    def prepare(site: Site) -> Callable[[], Any]:
        site.send("PUT", "/online-features/rides", json={"features": {"fare": {}}})
        return lambda: site.send(method, f"/online-features/rides{path}", json=body)

    return prepare


def _composed(site: Site) -> None:
    with site.hub.database.transaction() as session:
        for model in ("small", "large"):
            add_member(session, site.hub.artifacts, model)
    site.send("POST", "/groups", json={"name": "plant", "devices": site.devices[:1]})
    site.send("POST", "/compositions", json={"name": "faces", "form": CASCADE})


def _create_composition(site: Site) -> Callable[[], Any]:
    _composed(site)
    return lambda: site.send("POST", "/compositions", json={"name": "hands", "form": CASCADE, "groups": ["plant"]})


def _change_composition(site: Site) -> Callable[[], Any]:
    _composed(site)
    return lambda: site.send("PUT", "/compositions/faces", json={"form": ENSEMBLE})


def _of_composition(method: str, path: str = "", *, is_assigned: bool = False) -> Callable[[Site], Callable[[], Any]]:
    def prepare(site: Site) -> Callable[[], Any]:
        _composed(site)
        where = f"/compositions/faces{path.replace('{device}', site.devices[0])}"
        if is_assigned:
            site.send("PUT", where)
        return lambda: site.send(method, where)

    return prepare


def _want_captures(site: Site) -> Callable[[], Any]:
    return lambda: site.send("PUT", "/capture-requests/digits", json={})


def _unwant_captures(site: Site) -> Callable[[], Any]:
    _want_captures(site)()
    return lambda: site.send("DELETE", "/capture-requests/digits")


def _delete_captures(path: str) -> Callable[[Site], Callable[[], Any]]:
    def prepare(site: Site) -> Callable[[], Any]:
        with site.hub.database.transaction() as session:
            row = add_capture(session, site.hub.artifacts, site.devices[0])
            where = path.replace("{capture}", row.id)
        return lambda: site.send("DELETE", where)

    return prepare


def _hand_out(site: Site) -> Callable[[], Any]:
    body = {"model": "digits", "input": "*.csv", "deadline_at": (utc_now() + timedelta(days=1)).isoformat()}
    return lambda: site.send("POST", "/batches", json={"name": "march", "body": body, "devices": site.devices})


def _cancel_batch(site: Site) -> Callable[[], Any]:
    _hand_out(site)()
    return lambda: site.send("POST", "/batches/march/cancel")


ASSIGNED: dict[tuple[str, str], tuple[Callable[[Site], Callable[[], Any]], str, str]] = {
    ("PUT", "/api/v1/features/{name}"): (_set_features, "features.set_features", "features/pumps"),
    ("DELETE", "/api/v1/features/{name}"): (_of_features("DELETE"), "features.remove_features", "features/pumps"),
    ("PUT", "/api/v1/features/{name}/groups/{group}"): (
        _of_features("PUT", "/groups/plant"),
        "features.assign_to_group",
        "features/pumps/groups/plant",
    ),
    ("DELETE", "/api/v1/features/{name}/groups/{group}"): (
        _of_features("DELETE", "/groups/plant", is_assigned=True),
        "features.unassign_from_group",
        "features/pumps/groups/plant",
    ),
    ("PUT", "/api/v1/features/{name}/devices/{device_id}"): (
        _of_features("PUT", "/devices/{device}"),
        "features.assign_to_device",
        "features/pumps/devices/d-",
    ),
    ("DELETE", "/api/v1/features/{name}/devices/{device_id}"): (
        _of_features("DELETE", "/devices/{device}", is_assigned=True),
        "features.unassign_from_device",
        "features/pumps/devices/d-",
    ),
    ("PUT", "/api/v1/online-features/{view}"): (
        _of_view("PUT", features={"fare": {"fallback": 1}}),
        "online_features.set_view",
        "online-features/rides",
    ),
    ("DELETE", "/api/v1/online-features/{view}"): (
        _of_view("DELETE"),
        "online_features.remove_view",
        "online-features/rides",
    ),
    ("PUT", "/api/v1/online-features/{view}/values"): (
        _of_view("PUT", "/values", rows=[{"entity": "u1", "at": "2026-03-01T00:00:00Z", "values": {"fare": 3.5}}]),
        "online_features.write_values",
        "online-features/rides",
    ),
    ("POST", "/api/v1/compositions"): (_create_composition, "compositions.create", "compositions/hands"),
    ("PUT", "/api/v1/compositions/{name}"): (_change_composition, "compositions.change", "compositions/faces"),
    ("DELETE", "/api/v1/compositions/{name}"): (
        _of_composition("DELETE"),
        "compositions.remove",
        "compositions/faces",
    ),
    ("PUT", "/api/v1/compositions/{name}/groups/{group}"): (
        _of_composition("PUT", "/groups/plant"),
        "compositions.assign_to_group",
        "compositions/faces/groups/plant",
    ),
    ("DELETE", "/api/v1/compositions/{name}/groups/{group}"): (
        _of_composition("DELETE", "/groups/plant", is_assigned=True),
        "compositions.unassign_from_group",
        "compositions/faces/groups/plant",
    ),
    ("PUT", "/api/v1/compositions/{name}/devices/{device_id}"): (
        _of_composition("PUT", "/devices/{device}"),
        "compositions.assign_to_device",
        "compositions/faces/devices/d-",
    ),
    ("DELETE", "/api/v1/compositions/{name}/devices/{device_id}"): (
        _of_composition("DELETE", "/devices/{device}", is_assigned=True),
        "compositions.unassign_from_device",
        "compositions/faces/devices/d-",
    ),
    ("POST", "/api/v1/batches"): (_hand_out, "batches.create_batch", "batches/march"),
    ("POST", "/api/v1/batches/{name}/cancel"): (_cancel_batch, "batches.cancel_batch", "batches/march"),
    ("PUT", "/api/v1/capture-requests/{model}"): (
        _want_captures,
        "captures.request_captures",
        "capture-requests/digits",
    ),
    ("DELETE", "/api/v1/capture-requests/{model}"): (
        _unwant_captures,
        "captures.end_capture_request",
        "capture-requests/digits",
    ),
    ("DELETE", "/api/v1/captures/{capture_id}"): (
        _delete_captures("/captures/{capture}"),
        "captures.delete_capture",
        "captures/cp-",
    ),
    ("DELETE", "/api/v1/captures"): (
        _delete_captures("/captures?model=digits"),
        "captures.delete_many_captures",
        "captures/cp-",
    ),
}
