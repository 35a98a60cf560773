"""The flags of ``run`` and ``create``.  Pure data."""

from __future__ import annotations

from netd.cli.parse.common_flags import NO_CONTENT_TRUST
from netd.cli.parse.flags import many, switch, text
from netd.cli.parse.health_flags import HEALTH
from netd.cli.parse.resource_flags import LIMITS, OTHER_LIMITS, RESTART

NETWORK = (
    many(
        "network",
        "",
        "NETWORK",
        "Connect to a network: NAME, or name=NAME,alias=NAME,ip=ADDRESS,…",
        aliases=("net",),
        values="network",
    ),
    text("ip", "", "ADDRESS", "IPv4 address on the first network"),
    text("ip6", "", "ADDRESS", "IPv6 address on the first network"),
    text("mac-address", "", "MAC", "MAC address on the first network"),
    many("network-alias", "", "NAME", "Alias of the container on the first network", aliases=("net-alias",)),
    many("link-local-ip", "", "ADDRESS", "Link-local address on the first network"),
    many("link", "", "CONTAINER[:ALIAS]", "Link to another container, optionally with an alias", values="running"),
    many("publish", "p", "PORTS", "Publish ports: [ADDRESS:][HOST:]PORT[/PROTOCOL], ranges as 8000-8010"),
    many("allow", "", "CIDR", "Accept connections to published ports only from this network"),
    switch("publish-all", "P", "Publish all exposed ports on free ports of the host"),
    many("expose", "", "PORTS", "Expose ports without publishing them: 80, 80-82/udp"),
    many("dns", "", "ADDRESS", "Name server to forward queries to"),
    many("dns-search", "", "DOMAIN", "Search domain"),
    many("dns-option", "", "OPTION", "Resolver option", aliases=("dns-opt",)),
    many("add-host", "", "NAME:ADDRESS", "Entry for /etc/hosts; ADDRESS may be host-gateway"),
    text("hostname", "h", "NAME", "Hostname of the container (the short id)"),
    text("domainname", "", "NAME", "Domain name of the container"),
)

STORAGE = (
    many(
        "volume",
        "v",
        "[SOURCE:]TARGET[:OPTIONS]",
        "Mount a volume, or a path of the host: /path, ./path",
        values="volume",
    ),
    many("mount", "", "KEY=VALUE,…", "Add a mount: type=bind|volume|tmpfs|image,source=…,target=…,readonly"),
    many("tmpfs", "", "TARGET[:OPTIONS]", "Mount a tmpfs"),
    text("volume-driver", "", "NAME", "Driver of the volumes of -v", values="volume-driver"),
    many("volumes-from", "", "CONTAINER", "Mount the volumes of another container", values="container"),
    switch("read-only", "", "Make the root file system read-only"),
    many("device", "", "SOURCE[:TARGET[:rwm]]", "Add a device of the host", values="file"),
    many("gpus", "", "all|NUMBER|KEY=VALUE,…", "Refused: netd has no driver for GPUs"),
    switch("use-api-socket", "", "Refused: mount the daemon's socket with -v"),
    text("shm-size", "", "BYTES", "Size of /dev/shm, such as 64m"),
)

PROCESS = (
    many(
        "env", "e", "NAME[=VALUE]", "Set an environment variable; without VALUE, to its value in netctl's environment"
    ),
    many("env-file", "", "FILE", "Read environment variables from a file", values="file"),
    many("attach", "a", "STREAM", "Attach stdin, stdout or stderr only", values="words:stdin stdout stderr"),
    text("workdir", "w", "PATH", "Working directory"),
    text("user", "u", "USER[:GROUP]", "User and group, by name or number"),
    many("group-add", "", "GROUP", "Supplementary group"),
    text("entrypoint", "", "PROGRAM", "Program to run instead of the image's"),
    switch("interactive", "i", "Keep standard input open"),
    switch("tty", "t", "Allocate a terminal"),
    switch("init", "", "Run an init process that forwards signals and reaps processes"),
    text("stop-signal", "", "SIGNAL", "Signal that stops the container"),
    text("stop-timeout", "", "SECONDS", "Seconds to wait before the container is killed", values=""),
)

SECURITY = (
    switch("privileged", "", "Give the container all privileges of the host's root"),
    many("cap-add", "", "CAPABILITY", "Add a capability"),
    many("cap-drop", "", "CAPABILITY", "Drop a capability"),
    many(
        "security-opt",
        "",
        "OPTION",
        "Security option: no-new-privileges, seccomp=FILE, apparmor=unconfined, systempaths=unconfined …",
    ),
    text("isolation", "", "KIND", "Isolation technology; Linux supports only 'default'", values="words:default"),
    text("pid", "", "MODE", "Process namespace: host, container:NAME"),
    text("ipc", "", "MODE", "IPC namespace: private, shareable, host, container:NAME"),
    text("uts", "", "MODE", "UTS namespace: host"),
    text("userns", "", "MODE", "User namespace: host (none), auto (a separate range of ids)"),
    text("cgroupns", "", "MODE", "Control group namespace: private, host"),
    text("runtime", "", "NAME", "Runtime: netd; runc means the same", values="words:netd runc"),
    text("kernel-memory", "", "BYTES", "Refused: kernels no longer have this limit"),
    NO_CONTENT_TRUST,
)

LIFECYCLE = (
    text("name", "", "NAME", "Name of the container"),
    text("cidfile", "", "FILE", "Write the container's id to this file, which must not exist", values="file"),
    many("label", "l", "KEY[=VALUE]", "Label"),
    many("label-file", "", "FILE", "Read labels from a file, one in a line", values="file"),
    many("annotation", "", "KEY=VALUE", "Annotation"),
    text("platform", "", "OS/ARCHITECTURE", "Platform of the image, such as linux/amd64"),
    switch("rm", "", "Remove the container when it exits"),
    RESTART,
    text("log-driver", "", "NAME", "Log driver", values="log-driver"),
    text(
        "pull",
        "",
        "POLICY",
        "Pull the image before creating the container: always, missing, never (missing)",
        values="words:always missing never",
    ),
    switch("quiet", "q", "Show no progress of the pull"),
    many("log-opt", "", "NAME=VALUE", "Option of the log driver"),
)

CREATE = (*NETWORK, *STORAGE, *PROCESS, *HEALTH, *LIMITS, *OTHER_LIMITS, *SECURITY, *LIFECYCLE)

RUN = (
    *CREATE,
    switch("detach", "d", "Run the container in the background and print its id"),
    text("detach-keys", "", "KEYS", "Keys that detach from the container (ctrl-p,ctrl-q)"),
    switch("sig-proxy", "", "Forward signals to the container (true)"),
)
