"""Images: names, archives, layers on disk.

Nothing here knows containers.
"""
