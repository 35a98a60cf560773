"""Decisions of a build as values: variables, needed stages, configuration changes, cache keys.  Pure."""
