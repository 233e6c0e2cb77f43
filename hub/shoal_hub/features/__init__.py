"""Feature sets: named, versioned definitions and pipelines, and the devices that compute them."""
