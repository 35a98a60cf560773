"""Leaves that netd and the runtime share: errors, ids, the store, the HTTP front, settings.

Nothing here knows what a network or a container is.  ``runtime`` may import this package,
``netd.api`` and ``netd.client``, and nothing else of ``netd``.
"""
