"""The HTTP front of the daemons: sockets, connections and their bounds, requests, hijacked connections.

Nothing here knows routes.
"""
