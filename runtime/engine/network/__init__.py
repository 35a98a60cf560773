"""A container's side of netd: its sandbox, its published ports, its static addresses."""
