"""The parts of the netd-dns process that serve sockets: UDP and TCP of the sandboxes, and the control socket."""
