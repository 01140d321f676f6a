"""MQTT as bytes, for both ends of a connection. Pure: bytes in, packets out, and back."""
