"""netd-dns is stopped or killed while containers run: starts continue, and resolution recovers."""

import os
import re
import signal
import time

import pytest

from tests.installation import wait_until


def server_pid(place) -> int:
    return int(re.findall(r"started: pid=(\d+)", (place.run / "dns.log").read_text())[-1])


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_starts_go_on_and_names_come_back(place, api, run, output, number):
    network = api.create_network("attacked", driver="bridge")["Id"]
    try:
        target = run(name="target", host={"NetworkMode": "attacked"})
        begin = time.monotonic()
        output("true", host={"NetworkMode": "attacked"})
        usual = time.monotonic() - begin
        victim = server_pid(place)
        os.kill(victim, number)
        begin = time.monotonic()
        late = run(name="late", host={"NetworkMode": "attacked"})
        output("true", host={"NetworkMode": "attacked"})
        assert time.monotonic() - begin < 2 * usual + 10, "two starts, each delayed by half a second at most"
        wait_until(lambda: server_pid(place) != victim)
        for asker, name in ((target, "late"), (late, "target")):
            made = api.exec_create(asker, ["nslookup", "-type=a", name, "127.0.0.11"])
            assert "Address" in api.exec_start(made["Id"]).decode()
            assert api.exec_inspect(made["Id"])["ExitCode"] == 0
    finally:
        for container in api.containers(all=True):
            api.remove_container(container["Id"], force=True)
        api.remove_network(network)
