"""The document store: SQLite file, copy, log of changes, and recovery from damage.

It does not know what the documents mean.
"""
