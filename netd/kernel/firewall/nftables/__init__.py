"""The nftables backend: one table with a fixed number of rules; sets and maps hold what varies."""
