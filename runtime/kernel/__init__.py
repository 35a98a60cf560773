"""The kernel's means of confinement: system calls, control groups, devices, capabilities, the seccomp filter."""
