"""Links of the host and of sandboxes: bridges, veth pairs, macvlans, links of plugins, and the BPF programs on them."""
