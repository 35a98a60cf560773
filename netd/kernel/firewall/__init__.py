"""The firewall backends, nftables and iptables, behind one contract, and the choice between them."""
