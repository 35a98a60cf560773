"""Containers: options, records, networks, life cycle.

Processes are the shims' work, networks netd's.
"""
