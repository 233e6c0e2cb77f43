"""The typed Python client of a hub's API: `ShoalClient(url, token, ca_path)` or `ShoalClient.from_profile()`.

Knows the API alone and nothing of the hub's inside.
"""

from shoal_client.client import ShoalClient
from shoal_client.errors import (
    ApiError,
    ApprovalPendingError,
    ClientError,
    HubUnreachableError,
    JobFailedError,
    ProfileError,
)
from shoal_client.profile import Profile

__all__ = [
    "ApiError",
    "ApprovalPendingError",
    "ClientError",
    "HubUnreachableError",
    "JobFailedError",
    "Profile",
    "ProfileError",
    "ShoalClient",
]
