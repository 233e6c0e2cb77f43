"""Site caches: devices on one LAN, one of which serves artifacts to the others."""
