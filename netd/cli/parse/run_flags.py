"""The flags of ``run`` and ``create``.  Pure data."""

from __future__ import annotations

from netd.cli.parse.flags import many, switch, text

NETWORK = (
    many(
        "network",
        "",
        "NETWORK",
        "Connect to a network; also name=N,alias=A,ip=ADDRESS,…",
        also=("net",),
        values="network",
    ),
    text("ip", "", "ADDRESS", "IPv4 address on the first network"),
    text("ip6", "", "ADDRESS", "IPv6 address on the first network"),
    text("mac-address", "", "MAC", "MAC address on the first network"),
    many("network-alias", "", "NAME", "Further name of the container on the first network", also=("net-alias",)),
    many("link", "", "CONTAINER[:ALIAS]", "Know another container by a further name", values="running"),
    many("publish", "p", "PORTS", "Publish ports: [ADDRESS:][HOST:]PORT[/PROTOCOL], ranges as 8000-8010"),
    many("allow", "", "CIDR", "Let only this network come to the published ports; may be given several times"),
    switch("publish-all", "P", "Publish every exposed port on a free port of the host"),
    many("expose", "", "PORTS", "Expose ports without publishing them: 80, 80-82/udp"),
    many("dns", "", "ADDRESS", "Name server to forward questions to"),
    many("dns-search", "", "DOMAIN", "Search domain"),
    many("dns-option", "", "OPTION", "Resolver option", also=("dns-opt",)),
    many("add-host", "", "NAME:ADDRESS", "Line for /etc/hosts; the address may be host-gateway"),
    text("hostname", "h", "NAME", "Host name inside; the first digits of the id by default"),
    text("domainname", "", "NAME", "Domain name inside"),
)

STORAGE = (
    many(
        "volume",
        "v",
        "[SOURCE:]TARGET[:OPTIONS]",
        "Mount a volume, or a path of the host: /path, ./path",
        values="volume",
    ),
    many("mount", "", "KEY=VALUE,…", "Mount, in words: type=bind|volume|tmpfs,source=…,target=…,readonly"),
    many("tmpfs", "", "TARGET[:OPTIONS]", "Mount memory"),
    many("volumes-from", "", "CONTAINER", "Mount what another container mounts", values="container"),
    switch("read-only", "", "Make the root file system read-only"),
    many("device", "", "SOURCE[:TARGET[:rwm]]", "Give a device of the host", values="file"),
    text("shm-size", "", "BYTES", "Size of /dev/shm, such as 64m"),
)

PROCESS = (
    many("env", "e", "NAME[=VALUE]", "Set an environment variable; without a value, as it is here"),
    many("env-file", "", "FILE", "Read environment variables from a file", values="file"),
    text("workdir", "w", "PATH", "Working directory"),
    text("user", "u", "USER[:GROUP]", "User and group, by name or number"),
    many("group-add", "", "GROUP", "Further group"),
    text("entrypoint", "", "PROGRAM", "Program to run instead of the image's"),
    switch("interactive", "i", "Keep standard input open"),
    switch("tty", "t", "Give it a terminal"),
    switch("init", "", "Run a small init that forwards signals and reaps processes"),
    text("stop-signal", "", "SIGNAL", "Signal that asks the program to stop"),
    text("stop-timeout", "", "SECONDS", "How long to wait for it before killing", values=""),
)

LIMITS = (
    text("cpus", "", "NUMBER", "How many processors at most, such as .5"),
    text("cpu-shares", "c", "NUMBER", "Share of the processors when they are short"),
    text("cpu-period", "", "MICROSECONDS", "Period of the processor limit"),
    text("cpu-quota", "", "MICROSECONDS", "Processor time in a period"),
    text("cpuset-cpus", "", "LIST", "Which processors, such as 0-2,4"),
    text("cpuset-mems", "", "LIST", "Which memory nodes"),
    text("memory", "m", "BYTES", "Memory at most, such as 100m"),
    text("memory-swap", "", "BYTES", "Memory and swap together at most; -1 for no limit"),
    text("memory-reservation", "", "BYTES", "Memory to keep when it is short"),
    text("pids-limit", "", "NUMBER", "How many processes at most; -1 for no limit"),
    text("oom-score-adj", "", "NUMBER", "Preference when the host has no memory left (-1000 to 1000)"),
    many("ulimit", "", "NAME=SOFT[:HARD]", "Resource limit of its processes"),
    many("sysctl", "", "NAME=VALUE", "Kernel parameter of its namespaces"),
)

SECURITY = (
    switch("privileged", "", "Give it every right that the host's root has"),
    many("cap-add", "", "CAPABILITY", "Add a capability"),
    many("cap-drop", "", "CAPABILITY", "Drop a capability"),
    many("security-opt", "", "OPTION", "no-new-privileges, seccomp=unconfined, seccomp=FILE …"),
    text("isolation", "", "KIND", "Only 'default' and '' exist on Linux", values="words:default"),
    text("pid", "", "MODE", "Process namespace: host, container:NAME"),
    text("ipc", "", "MODE", "IPC namespace: private, shareable, host, container:NAME"),
    text("uts", "", "MODE", "UTS namespace: host"),
    text("userns", "", "MODE", "User namespace: host for none, auto for one with ids of its own"),
    text("cgroupns", "", "MODE", "Control group namespace: private, host"),
)

LIFE = (
    text("name", "", "NAME", "Name of the container"),
    many("label", "l", "KEY[=VALUE]", "Label"),
    switch("rm", "", "Remove the container when it has ended"),
    text(
        "restart",
        "",
        "POLICY",
        "no, always, unless-stopped, on-failure[:TIMES]",
        values="words:no always unless-stopped on-failure",
    ),
    text("log-driver", "", "NAME", "Where its output is kept"),
    many("log-opt", "", "NAME=VALUE", "Option of the log driver"),
)

CREATE = (*NETWORK, *STORAGE, *PROCESS, *LIMITS, *SECURITY, *LIFE)

RUN = (
    *CREATE,
    switch("detach", "d", "Leave it running in the background and print its id"),
    text("detach-keys", "", "KEYS", "Keys that leave it running and end netctl (ctrl-p,ctrl-q)"),
    switch("sig-proxy", "", "Hand signals on to it (true)"),
)
