"""The nftables backend: one table with a fixed number of rules, and sets and maps with the elements."""
