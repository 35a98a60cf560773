"""Docker plugins: drivers in other processes, called over libnetwork's remote driver protocol.

``plugin_discovery`` finds their sockets, ``caller`` sends requests, ``network_driver`` and ``ipam_driver`` implement
the engine's interfaces for drivers.  Nothing here changes the kernel or the state; every call has a timeout, and
responses are validated.
"""
