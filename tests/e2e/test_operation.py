"""What an administrator sees: requests and events in the log, request ids, and the reload of the configuration."""

import re
import signal

import pytest

from tests.installation import Installation, wait_until


@pytest.fixture(scope="module")
def host():
    made = Installation()
    made.flags = ["--log-level", "debug"]
    try:
        made.start()
        made.load_busybox()
        yield made
    finally:
        made.destroy()


def log_of(host, name):
    return (host.root / f"{name}.log").read_text()


def configure(host, text):
    host.config.write_text(text)


def test_requests_and_events_are_logged_with_the_id_that_both_daemons_share(host):
    host.netctl("network", "create", "shop")
    host.netctl("run", "-d", "--name", "web", "--network", "shop", "busybox", "sleep", "1000")
    log = log_of(host, "runtime")
    started = re.search(r"request: method=POST path=\S+/start status=204 ms=[\d.]+ client=\S* request=(\w+)", log)
    assert started, log[-2000:]
    wait_until(lambda: f"request={started[1]}" in log_of(host, "netd"))
    assert re.search(
        rf"DEBUG .* method=POST path=/netd/v1/sandboxes status=201 .* request={started[1]}", log_of(host, "netd")
    )
    assert re.search(
        r"DEBUG netd.common.events: event: type=network action=create id=\w{12} name=shop", log_of(host, "netd")
    )
    assert re.search(r"DEBUG netd.common.events: event: type=container action=start id=\w{12} name=web", log)


def test_every_response_names_the_request(host):
    client = host.docker.api
    found = client.get(f"{client.base_url}/_ping", headers={"X-Request-Id": "mine-1"})
    assert found.headers["X-Request-Id"] == "mine-1"
    assert re.fullmatch(r"[0-9a-f]{8}", client.get(f"{client.base_url}/_ping").headers["X-Request-Id"])
    hostile = client.get(f"{client.base_url}/_ping", headers={"X-Request-Id": "a b=c"}).headers["X-Request-Id"]
    assert re.fullmatch(r"[0-9a-f]{8}", hostile)


def test_a_reload_changes_name_servers_of_running_containers_and_names_what_needs_a_restart(host):
    host.netctl("run", "-d", "--name", "asks", "busybox", "sleep", "1000")
    configure(host, 'dns_domains = { "corp.example" = ["127.0.0.9"] }\ngroup = "other"\n')
    found = host.netctl("reload")
    assert "netd: dns_domains changed\n" in found.stdout
    assert "netd: changed in the file, but needs a restart of netd: group" in found.stderr
    configure(host, "dns = 5\n")
    refused = host.netctl("reload", check=False)
    assert refused.returncode == 1 and "dns must be a list of strings" in refused.stderr
    configure(host, "")
    host.processes["netd"].send_signal(signal.SIGHUP)
    wait_until(lambda: "configuration reloaded: applied=dns_domains need_restart=" in log_of(host, "netd"))
    assert host.processes["netd"].poll() is None
