"""Docker's default seccomp policy as a table of x86_64 system call numbers.

Pure data.  Calls that are not listed here, up to :data:`NEWEST`, are allowed.
"""

from __future__ import annotations

NEWEST = 466
"""The highest number with a policy; higher ones return ENOSYS, so that libraries fall back to older calls."""

UNUSED = range(336, 424)
"""Unassigned numbers, and uprobe, which the kernel does not pass to filters."""

NEVER: dict[str, int] = {
    "uselib": 134, "ustat": 136, "sysfs": 139, "pivot_root": 155, "_sysctl": 156, "swapon": 167, "swapoff": 168,
    "create_module": 174, "get_kernel_syms": 177, "query_module": 178, "nfsservctl": 180, "getpmsg": 181,
    "putpmsg": 182, "afs_syscall": 183, "tuxcall": 184, "security": 185, "vserver": 236, "kexec_load": 246,
    "add_key": 248, "request_key": 249, "keyctl": 250, "migrate_pages": 256, "move_pages": 279,
    "kexec_file_load": 320, "userfaultfd": 323, "io_uring_setup": 425, "io_uring_enter": 426,
    "io_uring_register": 427,
}  # fmt: skip
"""Refused regardless of capabilities."""

WITH_CAPABILITY: dict[str, dict[str, int]] = {
    "DAC_READ_SEARCH": {"open_by_handle_at": 304},
    "SYS_ADMIN": {
        "syslog": 103, "mount": 165, "umount2": 166, "sethostname": 170, "setdomainname": 171, "quotactl": 179,
        "lookup_dcookie": 212, "unshare": 272, "perf_event_open": 298, "fanotify_init": 300, "setns": 308,
        "bpf": 321, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432,
        "fspick": 433, "mount_setattr": 442, "quotactl_fd": 443, "lsm_get_self_attr": 459,
        "lsm_set_self_attr": 460, "lsm_list_modules": 461,
    },
    "SYS_BOOT": {"reboot": 169},
    "SYS_CHROOT": {"chroot": 161},
    "SYS_MODULE": {"init_module": 175, "delete_module": 176, "finit_module": 313},
    "SYS_PACCT": {"acct": 163},
    "SYS_PTRACE": {"kcmp": 312, "pidfd_getfd": 438, "process_madvise": 440},
    "SYS_RAWIO": {"iopl": 172, "ioperm": 173},
    "SYS_TIME": {"settimeofday": 164, "clock_settime": 227},
    "SYS_TTY_CONFIG": {"vhangup": 153},
    "SYS_NICE": {"mbind": 237, "set_mempolicy": 238, "get_mempolicy": 239, "set_mempolicy_home_node": 450},
    "SYSLOG": {"syslog": 103},
    "BPF": {"bpf": 321},
    "PERFMON": {"perf_event_open": 298},
}  # fmt: skip
"""Refused without the capability; a call listed twice needs only one of the capabilities."""

CLONE, CLONE3, PERSONALITY, SOCKET = 56, 435, 135, 41

NEW_NAMESPACES = 0x7E020000
"""The flags of clone that create namespaces; allowed with SYS_ADMIN only."""

PERSONALITIES = (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)

REFUSED_FAMILIES = (38, 40)
"""AF_ALG and AF_VSOCK: kernel code that containers do not need, with a history of vulnerabilities."""


def refused(capabilities: frozenset[str]) -> frozenset[int]:
    """Return the numbers up to NEWEST that return EPERM to a process with the named capabilities."""
    given = {number for name in capabilities for number in WITH_CAPABILITY.get(name, {}).values()}
    guarded = {number for calls in WITH_CAPABILITY.values() for number in calls.values()}
    return frozenset({*NEVER.values(), *UNUSED, *(guarded - given)})
