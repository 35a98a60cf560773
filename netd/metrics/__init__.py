"""Metrics in the Prometheus text format, on the daemons' sockets and, if configured, at a TCP address.

Values are counted where things happen and collected at each scrape; nothing is computed in between.
"""
