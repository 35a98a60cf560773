"""``watch``: changes of files on the disk are carried into the containers of services."""
