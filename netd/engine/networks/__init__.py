"""Requests about networks: create, delete, filter, and the subnets and templates that they need.

Sandboxes are out of its reach.
"""
