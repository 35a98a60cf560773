"""Choosing subnets for networks and addresses for endpoints.  Pure: what is taken is told, nothing is asked."""
