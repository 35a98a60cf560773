"""Sockets that hold published ports, and who listens on the ports of the host."""
