"""One change of a network or sandbox: allocation, plugin calls, kernel, store, netd-dns.

The packages that import this one decide on requests; this one applies their decisions.
"""
