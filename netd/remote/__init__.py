"""Plugins: drivers in processes of their own, spoken to in libnetwork's remote driver protocol.

``places`` finds them, ``caller`` carries calls, ``network`` is what the engine asks of a network driver.  Nothing here
touches the kernel or the state; every wait has an end, and an answer is believed only as far as it can be used.
"""
