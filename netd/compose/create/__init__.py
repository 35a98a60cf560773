"""Bodies of the Engine API's create requests for what a project needs, as Docker's compose sends them.  Pure."""
