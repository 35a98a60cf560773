"""The page and its data over TCP and as a file, and netctl graph, with real containers."""

import json
import re

import pytest

from tests.installation import running_installation

ADDRESS = "127.0.0.1:9752"


@pytest.fixture(scope="module")
def host():
    with running_installation(f'ui_address = "{ADDRESS}"\n') as made:
        made.netctl("network", "create", "--subnet", "10.78.0.0/24", "front")
        made.netctl("network", "create", "--subnet", "10.79.0.0/24", "--internal", "back")
        web = ("--name", "web", "--network", "front", "-p", "8000:80", "--network-alias", "www")
        made.netctl("run", "-d", *web, "busybox", "sleep", "1000")
        made.netctl("network", "connect", "back", "web")
        made.netctl("run", "-d", "--name", "db", "--network", "back", "busybox", "sleep", "1000")
        made.netctl("create", "--name", "old", "--network", "back", "busybox", "true")
        yield made


def fetch(host, path, *headers, method="GET"):
    """Return status, headers and body of a request over TCP."""
    script = """
import sys, urllib.request, urllib.error
url, method, *headers = sys.argv[1:]
request = urllib.request.Request(url, method=method, headers=dict(header.split(": ", 1) for header in headers))
try:
    response = urllib.request.urlopen(request, timeout=10)
except urllib.error.HTTPError as error:
    response = error
print(response.status)
print(response.headers)
print(response.read().decode())
"""
    done = host.on_host("python3", "-c", script, f"http://{ADDRESS}{path}", method, *headers)
    status, _, rest = done.stdout.partition("\n")
    head, _, body = rest.partition("\n\n")
    return int(status), head, body


def test_the_page_and_its_data_are_served_over_tcp_and_nothing_else(host):
    status, head, body = fetch(host, "/")
    assert status == 200 and "<title>netd: networks and containers</title>" in body
    assert "Content-Security-Policy: default-src 'none'; script-src 'sha256-" in head and "nosniff" in head
    assert "Access-Control-Allow-Origin" not in head
    status, _, body = fetch(host, "/netd/v1/topology")
    assert status == 200 and {found["Name"] for found in json.loads(body)["Containers"]} == {"web", "db"}
    assert fetch(host, "/netd/v1/topology", "Host: attacker.example:9752")[0] == 403
    assert fetch(host, "/netd/v1/topology", method="POST")[0] == 405
    for path in ("/networks", "/netd/v1/sandboxes", "/v1.51/networks", "/metrics", "/events"):
        assert fetch(host, path)[0] == 404


def test_netctl_graph_shows_the_containers_of_both_daemons(host):
    text = host.netctl("graph").stdout
    assert re.search(r"─ front  bridge  10\.78\.0\.0/24 gateway 10\.78\.0\.1  nd-", text)
    assert re.search(
        r"─ web  running  10\.78\.0\.2/24  aliases: www  also on: back\n.*0\.0\.0\.0:8000 → 80/tcp\n", text
    )
    assert "old  created\n" in text
    only = host.netctl("graph", "back").stdout
    assert "db  running  10.79.0.3/24" in only and "─ front" not in only
    assert '[label="web"' in host.netctl("graph", "--format", "dot").stdout


def test_netctl_writes_the_page_as_one_file(host, tmp_path):
    file = tmp_path / "page.html"
    assert host.netctl("graph", "--html", str(file)).stdout == ""
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', file.read_text())[1]
    found = {container["Name"]: container for container in json.loads(data)["Containers"]}
    assert set(found) == {"web", "db", "old"} and found["old"]["State"] == "created"
    assert found["web"]["Image"] == "busybox" and found["web"]["Ports"][0]["Port"] == 8000
    refused = host.netctl("graph", "--html", "/nowhere/page.html", check=False)
    assert refused.returncode == 1 and refused.stderr == "netctl: /nowhere/page.html: No such file or directory\n"
