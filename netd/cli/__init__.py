"""netctl, the command line: words in, requests to the daemons' sockets out, tables or JSON back.

It owns nothing and decides nothing that a daemon could decide.  It imports nothing of netd, and next to nothing of the
standard library before a verb is known: a whole call has to fit in a few dozen milliseconds.  So the modules here do
without ``typing``, ``dataclasses``, ``argparse`` and ``socket`` at run time, and import what only some calls need where
they need it.
"""
