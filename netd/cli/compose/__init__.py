"""The verbs of ``compose``: projects of several containers, through the Engine API."""
