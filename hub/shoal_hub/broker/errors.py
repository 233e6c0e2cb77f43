"""What can go wrong between the hub and its broker's process."""

from shoal_hub.errors import HubError


class BrokerError(HubError):
    """Mosquitto cannot be found, started or stopped."""

    code = "broker"
