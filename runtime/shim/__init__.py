"""The processes beside a container: the zygote, the shims, and what they share with the daemon.

Every module here is loaded by every shim, so each imports as little as it can.
"""
