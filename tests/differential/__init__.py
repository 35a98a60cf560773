"""One script of API calls against netd-runtime and Docker Engine, with the answers compared: see README.md."""
