"""Options of create requests: validation and translation into a container spec.  Pure."""
