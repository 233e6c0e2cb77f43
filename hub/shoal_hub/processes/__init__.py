"""The hub's processes: `python -m shoal_hub.processes api|ingest|controller`. Each is composed here, by hand."""
