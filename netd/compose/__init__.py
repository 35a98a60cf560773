"""Compose: projects that are described in files.

``load`` reads the files; ``model`` has the project as values, ``create`` the requests that it needs, ``plan`` decisions.
"""
