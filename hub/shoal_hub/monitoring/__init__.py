"""Monitoring: windows of sketches from devices, merged against the baseline, and the drift signals they raise."""
