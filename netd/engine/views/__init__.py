"""Records as others see them: Docker's JSON, the files of a container, the records of the name server.

Pure, except for ``host_files``, which reads the host's resolv.conf and hosts.
"""
