"""Organizations and their teams (ORG-1 to ORG-6)."""
