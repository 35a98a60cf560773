"""The DNS server of containers at 127.0.0.11, and netd's client of it.

``records`` holds the values that both processes use, ``protocol`` the messages between them, ``messages`` the pure
functions from a query to a response, ``resolv_conf`` a parser that both processes use.  ``client`` is imported by netd
only.  The other modules are the server process, ``python -m netd.dns``: to stay small and to start fast, it imports
nothing of netd outside this package except ``netd.kernel.namespaces``.
"""
