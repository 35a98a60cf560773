"""Plugins: drivers in processes of their own, spoken to in libnetwork's remote driver protocol.

``places`` finds them, ``caller`` carries calls, ``network`` and ``addresses`` are what
the engine asks of network and IPAM drivers.  Nothing here
touches the kernel or the state; every wait has an end, and an answer is believed only as far as it can be used.
"""
