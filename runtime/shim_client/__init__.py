"""The daemon's side of zygote and shims: start, reconnect to, signal and remove processes in containers."""
