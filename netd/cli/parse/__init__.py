"""Flags and arguments of netctl, and their conversion into request bodies.

No sockets and no output, except for the question of ``common_flags.confirmed``; modules marked as pure read no files.
"""
