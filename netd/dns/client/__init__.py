"""netd's client of netd-dns: starts, connects to, supervises and replaces the process."""
