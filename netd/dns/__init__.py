"""Names inside containers: the server at 127.0.0.11 and netd's hold on it.

``records`` are the values both sides speak of, ``decide`` says purely what a question deserves, ``protocol`` is what
they say to each other.  ``link``, ``servers``, ``greeting``, ``launch`` and ``watchdog`` are netd's side.  Everything
else is the server process, ``python -m netd.dns``: so that it is small and quick to start, it imports nothing of netd
outside this package but ``netd.kernel.namespaces.netns``.
"""
