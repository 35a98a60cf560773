"""What the verbs of ``compose`` do with the Engine API: create, start, stop and remove the objects of a project."""
