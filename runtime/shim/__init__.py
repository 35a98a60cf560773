"""The zygote, the shims, and the files that they share with the daemon.

Every shim loads every module here, so each imports as little as possible.
"""
