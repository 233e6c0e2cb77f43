"""Captured samples: what the hub asks devices for, and what they have sent."""
