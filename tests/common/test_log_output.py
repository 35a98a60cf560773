"""Log messages: lines of text and JSON on standard error, and entries of the journal."""

import json
import os
import re
import socket
import struct
import subprocess
import sys

import pytest

SCRIPT = """
import logging, sys
from netd import log_output, request_id
log_output.start("netd", "info", *sys.argv[1:])
log = logging.getLogger("netd.part")
log.debug("not shown: a=%s", 1)
log.info("network created: network=%s count=%d", "a b", 3)
request_id.begin("abc-1")
log.warning("slow: seconds=%.1f", 1.25)
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed: what=%s", "x\\ny")
"""


def run(*words, environment=None, stderr=subprocess.PIPE):
    command = [sys.executable, "-c", SCRIPT, *words]
    return subprocess.run(
        command, stderr=stderr, text=True, timeout=30, env={**os.environ, **(environment or {})}
    ).stderr


def test_lines_of_text_have_time_level_message_keys_and_request():
    lines = run("text").splitlines()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO netd\.part: network created: network=a b count=3", lines[0]
    )
    assert lines[1].endswith("WARNING netd.part: slow: seconds=1.2 request=abc-1")
    assert "Traceback (most recent call last):" in lines


def test_lines_of_json_have_the_values_of_the_keys():
    first, second, third = map(json.loads, run("json").splitlines())
    assert first["network"] == "a b" and first["count"] == 3 and "request" not in first
    assert (first["level"], first["logger"], first["program"]) == ("info", "netd.part", "netd")
    assert second["request"] == "abc-1" and second["message"] == "slow: seconds=1.2"
    assert third["what"] == "x\ny" and "ZeroDivisionError" in third["traceback"]


def entries(data):
    """Decode an entry of the journal's native protocol."""
    found = {}
    while data:
        name, data = data.split(b"\n", 1)
        (size,) = struct.unpack("<Q", data[:8])
        found[name.decode()], data = data[8 : 8 + size].decode(), data[9 + size :]
    return found


@pytest.fixture
def journal(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind(str(tmp_path / "journal"))
        found.settimeout(10)
        yield found


def test_the_journal_gets_priorities_and_fields(journal, tmp_path):
    with (tmp_path / "stderr").open("w") as stderr:
        status = os.fstat(stderr.fileno())
        stream = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        run("text", str(tmp_path / "journal"), environment=stream, stderr=stderr)
    assert (tmp_path / "stderr").read_text() == ""
    first, second, third = (entries(journal.recv(1 << 20)) for _ in range(3))
    assert first["PRIORITY"] == "6" and first["SYSLOG_IDENTIFIER"] == "netd" and first["NETD_NETWORK"] == "a b"
    assert second["PRIORITY"] == "4" and second["NETD_REQUEST"] == "abc-1"
    assert third["NETD_WHAT"] == "x\ny" and "ZeroDivisionError" in third["MESSAGE"]
