"""The records that netd holds, indexed, and pure questions about them.

Nothing here changes the kernel, the store or the name server.
"""
