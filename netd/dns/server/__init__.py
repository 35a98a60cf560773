"""The process netd-dns: sockets of the sandboxes, its event loop, and the control socket."""
