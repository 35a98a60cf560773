"""The iptables backend: chains in the legacy tables by python-iptables, for hosts without nftables."""
