"""Routes of images: list, inspect, remove, archives, commit, disk usage."""
