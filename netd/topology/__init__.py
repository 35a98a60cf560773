"""The topology as values: networks, containers, ports, ways out, and who reaches whom.  Pure.

Must not read the kernel or the state; ``netd/engine/views/topology.py`` computes the values from the records.
"""
