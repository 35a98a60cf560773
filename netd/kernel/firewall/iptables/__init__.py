"""The firewall by python-iptables: chains of ours in the legacy tables, for hosts without nftables."""
