"""Alerts: rules over what the hub knows, whom they are told to, and the outbox that tells them."""
