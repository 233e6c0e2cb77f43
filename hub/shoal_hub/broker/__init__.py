"""The MQTT broker: Mosquitto's configuration, its program and its process under the hub's supervision."""
