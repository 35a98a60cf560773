"""The container runtime beside netd: containers, images and volumes, with Docker's API."""
