"""Connections of netctl to the daemons: HTTP, attached streams and the terminal."""
