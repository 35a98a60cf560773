"""HTTP routes of netd: JSON in, a call of the engine, JSON out.  Nothing is decided here."""
