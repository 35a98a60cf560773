"""Conversion of records: Docker's JSON, the files of a container, the records of netd-dns.  Pure."""
