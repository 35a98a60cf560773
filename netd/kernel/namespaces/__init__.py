"""Network namespaces: creating and entering them, those of the sandboxes, and the DNS sockets inside them."""
