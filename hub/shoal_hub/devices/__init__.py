"""Devices: enrolment, what is known of each, and the composition of its desired state from intents."""
