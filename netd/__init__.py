"""Container networking: the daemon netd, its name server netd-dns and the command netctl.

Nothing here is imported by ``netctl`` beyond ``netd.cli``: its start time is a requirement.
"""
