"""What goes wrong between the hub and those whom it tells."""

from shoal_hub.errors import HubError


class DeliveryError(HubError):
    """A message could not be handed over, or nobody has said that it was; it is tried again."""

    code = "alert_delivery"
