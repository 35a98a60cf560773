# Shared by up and down: the path of netctl, and the app's containers and networks.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
containers=(vote result worker redis db)
networks=(front-end back-end)

netctl() { "$netctl" "$@"; }
say() { echo "voting-app: $*"; }
die() { say "$@" >&2; exit 1; }

netctl=${NETCTL:-$(cd "$here/../.." && pwd)/.venv/bin/netctl}
[ -x "$netctl" ] || netctl=$(type -P netctl) || die "netctl is not installed; run tools/setup first"
export NETCTL=$netctl
netctl version >/dev/null || die "the daemons do not answer; start them, for example with tools/quickstart"
