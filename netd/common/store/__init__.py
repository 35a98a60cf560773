"""The document store: SQLite file, copy, change log, and recovery from damage.

It does not depend on the meaning of the documents.
"""
