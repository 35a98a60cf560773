"""Routes of Docker's Engine API: decode the request, call the engine, encode the response."""
