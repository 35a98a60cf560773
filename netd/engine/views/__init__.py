"""Conversion of records: Docker's JSON, the files of a container, the records of netd-dns.

Pure, except for ``host_files``, which reads the host's resolv.conf and hosts.
"""
