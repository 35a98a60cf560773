"""Read-only views of containers for lists, ``top`` and ``stats``."""
