"""The records in memory with their indexes, and pure functions over them.

Nothing here changes the kernel, the store or netd-dns.
"""
