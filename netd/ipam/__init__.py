"""Allocation of subnets for networks and of addresses for endpoints.  Pure: used ranges are passed in as arguments."""
