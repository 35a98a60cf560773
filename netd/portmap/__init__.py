"""Published ports and the firewall: what should be there (rules), which host ports are taken (ports)."""
