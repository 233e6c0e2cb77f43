"""Capture: samples of real requests, kept on the device for its owner, encrypted, and only by its owner's rules.

Off unless the owner switches it on and a file of rules names models. A sample leaves the device if the hub asks for it
and the owner lets it out, and never by itself.
"""

from shoal_agent.capture.capturer import Capture
from shoal_agent.capture.errors import CaptureError
from shoal_agent.capture.metrics import capture_families
from shoal_agent.capture.opening import open_capture
from shoal_agent.capture.rules import CaptureRules, read_rules
from shoal_agent.capture.sealed import About, Captured
from shoal_agent.capture.sender import CaptureSender
from shoal_agent.capture.store import Budget, CaptureStore, Kept

__all__ = [
    "About",
    "Budget",
    "Capture",
    "CaptureError",
    "CaptureRules",
    "CaptureSender",
    "CaptureStore",
    "Captured",
    "Kept",
    "capture_families",
    "open_capture",
    "read_rules",
]
