"""Sockets that hold published ports, and the programs of the host that listen on its ports."""
