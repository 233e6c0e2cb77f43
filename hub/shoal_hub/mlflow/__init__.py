"""MLflow's REST API, as its own client calls it, over the hub's tracking and registry."""
