"""Container networking: the daemon netd, its name server netd-dns and the command netctl.

``netctl`` imports only ``netd.cli`` of this package, because its start time is limited.
"""
