"""Requests about networks: create, delete, list, prune, reservations.

Changes no sandbox.
"""
