"""Comparison of the kernel with the desired state, at start and after changes by other programs.

Nothing here is called by a request.
"""
