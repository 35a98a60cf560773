"""Volumes, copy-up of image folders into them, and deferred deletion of folders."""
