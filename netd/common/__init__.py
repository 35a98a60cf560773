"""Modules that netd and the runtime share: errors, ids, the store, the HTTP server, settings.

None of them depends on networks or containers.  ``runtime`` may import this package,
``netd.api`` and ``netd.client``, and nothing else of ``netd``.
"""
