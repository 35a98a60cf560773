"""Direct delivery of frames between the ports of one network, by an eBPF program on the ports."""
