"""Questions that are forwarded: upstream servers, attempts, and the cache of their answers."""
