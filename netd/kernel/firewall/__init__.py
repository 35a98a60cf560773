"""The firewall backends, nftables and iptables, with one protocol for both, and the selection between them."""
