"""Device protocols: a folder a protocol, and what they share."""
