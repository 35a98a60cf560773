"""Files of containers for clients: archives, export, changes."""
