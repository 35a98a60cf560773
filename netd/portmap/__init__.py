"""Published ports: port requests, their policy, reservations of host ports, and the firewall's rules as values."""
