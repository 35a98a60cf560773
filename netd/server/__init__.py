"""HTTP routes of netd: parse JSON, call the engine, return JSON."""
