"""Routes of Docker's Engine API on netd-runtime's socket: JSON in, a call of the engine, JSON out.

Nothing is decided here.
"""
