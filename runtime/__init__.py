"""netd-runtime: the container runtime that uses netd, with containers, images and volumes in Docker's API."""
