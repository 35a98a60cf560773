"""Volumes and the folders of containers: creation, copy-up, deferred deletion."""
