"""Metrics of both daemons: the numbers follow what happens, and the dashboard asks for metrics that exist."""

import http.client
import json
import re
import socket
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.installation import running_installation, wait_until

DASHBOARD = Path(__file__).resolve().parents[2] / "packaging/grafana-dashboard.json"


@pytest.fixture(scope="module")
def host():
    with running_installation('metrics_address = "127.0.0.1:9750"\n') as made:
        made.netctl("network", "create", "--subnet", "10.77.0.0/24", "shop")
        made.netctl("run", "-d", "--name", "web", "--network", "shop", "-p", "8000:80", "busybox", "sleep", "1000")
        made.netctl("run", "-d", "--name", "cli", "--network", "shop", "busybox", "sleep", "1000")
        yield made


def samples(host, daemon):
    """Return the values of a scrape by name and values of the labels, in the order of their names."""
    connection = http.client.HTTPConnection("netd")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(host.run / f"{daemon}.sock"))
    with connection.sock:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        assert response.status == 200 and response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        families = text_string_to_metric_families(response.read().decode())
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_the_numbers_of_netd_follow_what_happens(host):
    before = samples(host, "netd")
    assert before["netd_networks",] == 4 and before["netd_sandboxes",] == 2 and before["netd_published_ports",] == 1
    assert before["netd_endpoints", "shop"] == 2
    assert before["netd_addresses", "shop", "used", "10.77.0.0/24"] == 5
    host.netctl("exec", "cli", "ping", "-c", "5", "-i", "0.05", "-s", "1000", "web")
    host.netctl("exec", "cli", "nslookup", "web", "127.0.0.11")
    after = samples(host, "netd")
    for direction in ("receive", "transmit"):
        key = (f"netd_container_{direction}_bytes_total", "web", "shop")
        assert after[key] - before[key] > 5 * 1000
        key = (f"netd_container_{direction}_packets_total", "cli", "shop")
        assert after[key] - before[key] >= 5
    answered = ("netd_dns_queries_total", "records")
    wait_until(lambda: samples(host, "netd")[answered] > before[answered])
    assert after["netd_requests_total", "POST", "/netd/v1/sandboxes", "201"] == 2
    assert after["netd_request_seconds_count", "POST", "/netd/v1/sandboxes"] == 2
    assert after["netd_conntrack_limit",] > after["netd_conntrack_entries",] > 0
    assert after["netd_firewall_changes_total",] > 0


def test_the_numbers_of_the_runtime_follow_what_happens(host):
    found = samples(host, "docker")
    assert found["netd_runtime_containers", "running"] == 2 and found["netd_runtime_images",] == 1
    assert found["netd_runtime_container_processes", "web"] >= 1
    assert found["netd_runtime_container_memory_bytes", "web"] > 0
    assert found["netd_runtime_requests_total", "POST", "/containers/{name:path}/start", "204"] == 2


def test_a_repair_is_counted(host):
    before = samples(host, "netd")["netd_repairs_total",]
    bridge = f"nd-{host.docker.networks.get('shop').id[:12]}"
    host.on_host("ip", "link", "delete", bridge)
    wait_until(lambda: samples(host, "netd")["netd_repairs_total",] > before)


def test_only_metrics_are_served_over_tcp(host):
    script = """
import sys, urllib.request, urllib.error
print(urllib.request.urlopen("http://127.0.0.1:9750/metrics", timeout=10).read().decode().count("netd_networks"))
try:
    urllib.request.urlopen("http://127.0.0.1:9750/networks", timeout=10)
except urllib.error.HTTPError as error:
    print(error.code)
"""
    assert host.on_host("python3", "-c", script).stdout.split() == ["3", "404"]


def test_the_dashboard_asks_for_metrics_that_exist(host):
    known = {name for daemon in ("netd", "docker") for name, *_ in samples(host, daemon)}
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = {
        name for panel in panels for target in panel["targets"] for name in re.findall(r"\bnetd_\w+", target["expr"])
    }
    assert asked - known == set()
