"""What teams are told of their subscription by mail."""
