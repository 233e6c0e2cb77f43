"""HTTP on the device: connections within bounds, routes, and who may ask. Knows nothing of models.

httptools parses, the event loop's own transports carry: a third of what an ASGI server and framework cost a request.
"""

from shoal_agent.endpoint.limits import EndpointLimits
from shoal_agent.endpoint.listener import Address, EndpointError, Listener
from shoal_agent.endpoint.message import Request, RequestError, Response, json_response, refuse
from shoal_agent.endpoint.names import LocalNames
from shoal_agent.endpoint.routes import Handler, Route, Router

__all__ = [
    "Address",
    "EndpointError",
    "EndpointLimits",
    "Handler",
    "Listener",
    "LocalNames",
    "Request",
    "RequestError",
    "Response",
    "Route",
    "Router",
    "json_response",
    "refuse",
]
