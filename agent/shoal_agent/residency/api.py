"""What programs on this device ask of its models' memory: `GET /shoal/v1/memory`, on the loopback endpoint alone."""

from typing import Any, Final

from shoal_agent.endpoint import Request, RequestError, Response, Route, json_response
from shoal_agent.local_caller import check_local
from shoal_agent.residency.residency import Residency
from shoal_contract.limits import MAX_INTEGER

_PATH: Final = "/shoal/v1/memory"


def memory_routes(residency: Residency) -> list[Route]:
    """Return the route; `?for=BYTES` and `?priority=N` ask what would give way to a model that comes."""

    def answer(request: Request) -> Response:
        check_local(request)
        shown = _shown(residency)
        if request.query("for"):
            size_bytes = _whole(request, "for", 1)
            priority = _whole(request, "priority", -MAX_INTEGER) if request.query("priority") else 0
            if residency.settings.budget_bytes:
                shown["preview"] = residency.preview(size_bytes, priority=priority)._asdict()
            else:
                shown["preview"] = {"fits": True, "evicted": [], "free_bytes": None}
        return json_response(shown)

    return [Route(_PATH, {"GET": answer})]


def _shown(residency: Residency) -> dict[str, Any]:
    loaded = residency.residents()
    models = [
        {
            "name": one.name,
            "is_loaded": True,
            "size_bytes": one.size_bytes or None,
            "priority": one.priority,
            "is_kept": one.is_kept,
            "idle_s": residency.idle_s(one.name),
            "reason": "",
        }
        for one in loaded
    ]
    models += [
        {
            "name": name,
            "is_loaded": False,
            "size_bytes": residency.known_bytes(name),
            "priority": residency.priority_of(name),
            "is_kept": name in residency.settings.kept,
            "idle_s": residency.idle_s(name),
            "reason": str(absence.why),
        }
        for name, absence in residency.resting().items()
    ]
    taken_bytes = sum(one.size_bytes for one in loaded)
    return {"budget_bytes": residency.settings.budget_bytes or None, "taken_bytes": taken_bytes, "models": models}


def _whole(request: Request, name: str, least: int) -> int:
    found = request.query(name)
    try:
        number = int(found)
    except ValueError:
        number = least - 1
    if not least <= number <= MAX_INTEGER:
        message = f"GET {_PATH}: {name} is {found[:40]!r}, expected a whole number from {least} on"
        raise RequestError(message, remedy=f"ask such as {_PATH}?for=50000000&priority=5")
    return number
