"""Images: names, archives, layers on disk.

Independent of containers.
"""
