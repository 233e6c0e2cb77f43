"""Federation: runs of Flower strategies over the fleet's MQTT; a round is an intent, its weights an artifact."""
