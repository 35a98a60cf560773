"""The firewall by nftables: one table of ours, whose rules never grow."""
