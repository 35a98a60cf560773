"""Names inside containers: the server at 127.0.0.11 and netd's hold on it.

``records`` are the values both sides speak of, ``decide`` says purely what a question deserves, ``link``
is netd's side; everything else is the server process, ``python -m netd.dns``, which imports nothing of
netd outside this package, so that it is small and quick to start.
"""
