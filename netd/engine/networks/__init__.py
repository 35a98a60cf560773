"""Requests about networks: create, delete, list, prune, reservations.

Nothing here changes a sandbox.
"""
