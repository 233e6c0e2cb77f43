"""Traces by OpenTelemetry: from a request over jobs and desired states to devices, and back with what they tell.

Off unless `OTEL_EXPORTER_OTLP_ENDPOINT` is set: then nothing of OpenTelemetry is imported, stored or sent.
"""
