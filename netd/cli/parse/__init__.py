"""Flags and arguments of netctl and the request bodies that they become.

Pure: no sockets, no output.
"""
