"""What the hub tells Prometheus: of its fleet, as the database has it, and of its processes, as they count."""
