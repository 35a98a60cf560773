"""Compose: projects that are described in files.

``load`` reads the files, ``model`` has the project as values; ``create`` and ``plan`` compute what it requires.
"""
