"""What lists, ``top`` and ``stats`` show of containers.

It changes nothing.
"""
