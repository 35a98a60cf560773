"""The verbs that show the topology of networks and containers."""
