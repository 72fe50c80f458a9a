"""What every service builds on: events, store, projections, bus, permissions. Imports no service."""
