"""Requests about sandboxes: create, delete, connect, disconnect, publish."""
