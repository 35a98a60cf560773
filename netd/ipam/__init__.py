"""Allocation of subnets for networks and of addresses for endpoints.

Pure, except for the discovery of drivers: used ranges are passed in as arguments.
"""
