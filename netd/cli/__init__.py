"""netctl, the command line: arguments become requests to the daemons' sockets, responses become tables or JSON.

netctl keeps no state and leaves validation to the daemons.  It imports no other package of netd, and little of the
standard library before the verb is known, so that a call takes a few dozen milliseconds.  For this reason the modules
here do not import ``typing``, ``dataclasses``, ``argparse`` and ``socket`` at run time, and functions import locally
the modules that only some calls need.
"""
