"""Forwarding of queries to upstream servers: their choice and health, attempts, and the response cache."""
