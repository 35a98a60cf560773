"""How the daemon starts, finds and ends processes in containers: the contract, and the daemon's side of it."""
