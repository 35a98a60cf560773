"""Calls of a runtime to netd as messages on one connection, without HTTP's cost per request."""
