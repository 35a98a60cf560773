"""Texts of a project's files as values: YAML, variables, references; the positions of values.

Pure, except for ``bounded_files``, which reads files.
"""
