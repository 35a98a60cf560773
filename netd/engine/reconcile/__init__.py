"""Comparison of the kernel with the desired state, at start and after changes made by others.

Nothing here is called by a request.
"""
