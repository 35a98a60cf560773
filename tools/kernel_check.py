"""Check this machine's kernel for the features that the tests need; run in separate network and mount namespaces.

Exits with 1 and one line per missing feature; the tests never skip for lack of one.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

RULES = """
table inet probe {
  map published { typeof ip daddr . th dport : ip daddr . th dport; flags interval; }
  chain in {
    type nat hook prerouting priority dstnat;
    meta l4proto tcp dnat ip to ip daddr . tcp dport map @published;
  }
  chain out { type nat hook postrouting priority srcnat; fib saddr type local masquerade; }
  chain through { type filter hook forward priority filter; ct state established,related accept; }
}
"""
LEGACY_RULES = """
*mangle
:PROBE - [0:0]
-A FORWARD -j PROBE
-A PROBE -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
-A PROBE -m conntrack --ctstate ESTABLISHED,DNAT -j RETURN
COMMIT
*nat
:PROBE - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -g PROBE
-A INPUT -j TEE --gateway GATEWAY
-A PROBE -p sctp -m multiport --dports 80:90 -j DNAT --to-destination TARGET
-A POSTROUTING -j MASQUERADE
COMMIT
*raw
-A PREROUTING -i probe+ -j DROP
COMMIT
"""
CONTROLLERS = {"cpu", "memory", "pids"}


class MissingError(Exception):
    """A check failed; the message is that of the kernel or of the program that the check runs."""


def main() -> int:
    missing = 0
    for name, check in CHECKS.items():
        try:
            check()
        except MissingError as error:
            print(f"tools/test: this machine lacks {name}: {error}", file=sys.stderr)
            missing += 1
    return 1 if missing else 0


def command(*words: str, stdin: str = "") -> None:
    try:
        done = subprocess.run(words, check=False, capture_output=True, text=True, input=stdin)
    except FileNotFoundError:
        raise MissingError(f"the program {words[0]} is not installed") from None
    if done.returncode:
        raise MissingError(f"{' '.join(words)}: {(done.stderr or done.stdout).strip()}")


def bridges() -> None:
    command("ip", "link", "add", "probe0", "type", "bridge")
    command("ip", "link", "add", "probe1", "type", "veth", "peer", "name", "probe2")
    command("ip", "link", "set", "probe1", "master", "probe0")
    command("bridge", "link", "set", "dev", "probe1", "isolated", "on")


def firewall() -> None:
    command("nft", "-f", "-", stdin=RULES)


def legacy_firewall() -> None:
    for program, gateway, target in (
        ("iptables-legacy-restore", "192.0.2.1", "192.0.2.2:100-110/80"),
        ("ip6tables-legacy-restore", "2001:db8::1", "[2001:db8::2]:100-110/80"),
    ):
        command(program, stdin=LEGACY_RULES.replace("GATEWAY", gateway).replace("TARGET", target))


def overlay() -> None:
    with tempfile.TemporaryDirectory(prefix="netd-probe-") as scratch:
        command("mount", "-t", "tmpfs", "tmpfs", scratch)
        for name in ("lower", "upper", "work", "merged"):
            Path(scratch, name).mkdir()
        options = f"lowerdir={scratch}/lower,upperdir={scratch}/upper,workdir={scratch}/work"
        command("mount", "-t", "overlay", "overlay", "-o", options, f"{scratch}/merged")
        command("umount", f"{scratch}/merged")
        command("umount", scratch)


def control_groups() -> None:
    mounts = [line.split(" - ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    found = {word for _, rest in mounts if rest.startswith("cgroup ") for word in rest.split()[-1].split(",")}
    for before, rest in mounts:
        if rest.startswith("cgroup2 "):
            controllers = Path(before.split()[4], "cgroup.controllers")
            found |= set(controllers.read_text().split())
    if absent := CONTROLLERS - found:
        raise MissingError(f"no {' and no '.join(sorted(absent))} controller is mounted below /sys/fs/cgroup")


def namespaces() -> None:
    command("unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "true")


def seccomp() -> None:
    if "Seccomp:" not in Path("/proc/self/status").read_text():
        raise MissingError("/proc/self/status does not mention it")


CHECKS: dict[str, Callable[[], None]] = {
    "namespaces of all kinds": namespaces,
    "bridges and pairs of virtual links": bridges,
    "nftables with nat, maps and fib": firewall,
    "legacy iptables with nat, conntrack, addrtype, multiport, TCPMSS and TEE": legacy_firewall,
    "the overlay file system": overlay,
    "control groups": control_groups,
    "seccomp": seccomp,
}

if __name__ == "__main__":
    sys.exit(main())
