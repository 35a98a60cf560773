"""The containers as the daemon holds them: records, names, their files on the host.

It starts and stops nothing.
"""
