"""Parsing queries, deciding on them from the records, and building responses.  Pure: no sockets, no clock."""
