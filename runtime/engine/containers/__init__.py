"""State of containers: records, names, files on the host.

This package does not start or stop processes.
"""
