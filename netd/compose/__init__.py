"""Compose: projects that are described in files.  ``load`` reads the files, the other modules act on the result."""
