"""netd's side of netd-dns: starting it, talking to it, and replacing it."""
