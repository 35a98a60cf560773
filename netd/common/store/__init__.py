"""The document store: SQLite file, copy, change log, and recovery from damage.

It does not interpret the documents.
"""
