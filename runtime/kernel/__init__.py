"""System calls, control groups, devices, capabilities, seccomp; access by descriptor to files of containers."""
