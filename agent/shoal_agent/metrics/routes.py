"""`GET /metrics`. Whoever may ask an endpoint for inference may ask it for this: on the network, by a key."""

from collections.abc import Callable, Iterable

from anyio import to_thread

from shoal_agent.endpoint import Request, Response, Route
from shoal_agent.metrics.device import DeviceSource, device_families
from shoal_agent.metrics.exposition import CONTENT_TYPE, Family, exposition
from shoal_agent.metrics.serving import serving_families
from shoal_agent.serving import Statistics

PATH = "/metrics"


def metrics_routes(
    statistics: Statistics, source: DeviceSource, more: Callable[[], Iterable[Family]] = tuple
) -> list[Route]:
    """Return the route.

    Args:
        statistics: Of requests.
        source: Of the device.
        more: Further families; asked in the event loop.
    """

    async def answer(_: Request) -> Response:
        families = [*serving_families(statistics), *more()]
        of_device = await to_thread.run_sync(device_families, source)  # chips answer slowly
        return Response((exposition([*of_device, *families]),), content_type=CONTENT_TYPE)

    return [Route(PATH, {"GET": answer})]
