"""Who is who: the devices' CA, the hub's own CA and the director's signing key, as files under `trust/`."""
