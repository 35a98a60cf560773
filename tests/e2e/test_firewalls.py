"""The main job with the iptables backend, and a migration to nftables while containers run."""

import pytest

from tests.installation import Installation, wait_until


@pytest.fixture
def moving():
    """An installation that is started with ``firewall = "iptables"``."""
    place = Installation(config='firewall = "iptables"\n')
    try:
        place.start()
        place.load_busybox()
        yield place
    finally:
        place.destroy()


def page(installation, url):
    return installation.on_host("busybox", "wget", "-q", "-O", "-", url).stdout


def test_containers_work_with_iptables_and_go_on_with_nftables(moving):
    moving.netctl("network", "create", "--subnet", "172.18.0.0/16", "shop")
    moving.netctl("run", "-d", "--name", "web", "--network", "shop", "-p", "8080:80", "busybox", "sh", "-c",
                  "echo hello from web > /tmp/index.html; exec httpd -f -p 80 -h /tmp")  # fmt: skip
    moving.netctl("run", "-d", "--name", "client", "--network", "shop", "busybox", "sleep", "1000")
    for firewall in ("iptables", "nftables"):
        if firewall == "nftables":
            moving.config.write_text('firewall = "nftables"\n')
            moving.kill("netd")
            moving.start("netd")
        wait_until(lambda: page(moving, "http://127.0.0.1:8080/") == "hello from web\n")
        assert moving.netctl("exec", "client", "wget", "-q", "-O", "-", "http://web/").stdout == "hello from web\n"
        assert ("NETD-" in moving.on_host("iptables-legacy-save").stdout) is (firewall == "iptables")
        assert ("table inet netd" in moving.on_host("nft", "list", "tables").stdout) is (firewall == "nftables")


DROPPING = "table inet admin { chain f { type filter hook forward priority 0; policy drop; }; }"


def test_a_host_that_forwards_nothing_is_diagnosed_and_with_the_default_setting_no_obstacle():
    made = Installation(config='host_forward = "leave"\n')
    try:
        made.start()
        made.load_busybox()
        made.netctl("network", "create", "--subnet", "172.18.0.0/16", "shop")
        for name, port in (("web", "8080:80"), ("pal", "8081:80")):
            made.netctl("run", "-d", "--name", name, "--network", "shop", "-p", port, "busybox", "sleep", "1000")
        assert "no rule of another program drops" in made.netctl("doctor").stdout
        assert made.on_host("nft", DROPPING).returncode == 0
        wait_until(lambda: "inet admin f (drop, policy)" in made.netctl("network", "create", "more").stderr
                   or made.netctl("network", "rm", "more") is None)  # fmt: skip
        assert "inet admin f (drop, policy)" in made.netctl("create", "-p", "9000:80", "busybox", "true").stderr
        found = made.netctl("doctor", check=False)
        assert found.returncode == 1
        assert "published packet from 192.0.2.1 to port 8080/tcp of the host: did not arrive" in found.stdout
        assert 'permit it with: nft \'insert rule inet admin f iifname "nd-*" accept;' in found.stdout
        made.config.write_text("")
        made.kill("netd")
        made.start("netd")
        found = made.netctl("doctor")
        assert "published packet from 192.0.2.1 to port 8080/tcp of the host: arrived" in found.stdout
        assert "netd: admitted" in made.on_host("nft", "list", "ruleset").stdout
    finally:
        made.destroy()
