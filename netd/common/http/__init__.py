"""The HTTP server of the daemons: sockets, connections and their limits, requests, hijacked connections.

Routes are passed in by the daemons.
"""
