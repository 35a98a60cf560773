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
