"""The container engine: options, records, networking and life cycle of containers.

Shims run the processes; netd sets up the networks.
"""
