"""Networking of containers through netd: sandboxes, published ports, static addresses, user namespaces."""
