"""Decisions: order of services, and which containers are created, recreated, started, kept or removed.  Pure."""
