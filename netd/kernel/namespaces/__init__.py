"""Namespaces: creating and entering them, the sandboxes' own, and the DNS sockets inside them."""
