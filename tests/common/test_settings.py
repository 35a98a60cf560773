"""Settings: flags that check and print them, their documentation, and what a reload changes."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from netd.common.config import definitions
from netd.common.errors import BadRequest
from netd.settings.command_line import load, reload
from netd.settings.documentation import annotated_file, page

ROOT = Path(__file__).resolve().parents[2]


def netd(*words, program="netd"):
    command = [sys.executable, "-m", program, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)


def test_the_page_and_the_annotated_file_are_made_from_the_definitions():
    assert (ROOT / "docs/configuration.md").read_text() == page(), "run tools/configuration-page"
    assert (ROOT / "packaging/netd.toml").read_text() == annotated_file(), "run tools/configuration-page"


def test_every_example_and_every_default_of_the_annotated_file_is_accepted(tmp_path):
    for number, kind in enumerate(("# Example: ", "# ")):
        lines = [line for line in annotated_file().splitlines() if line.startswith(kind)]
        names = tuple(f"{name} = " for name in definitions())
        values = [line.removeprefix(kind) for line in lines if line.removeprefix(kind).startswith(names)]
        assert len(values) == len(names)
        file = tmp_path / f"{number}.toml"
        file.write_text("\n".join(values))
        load("netd", "", ["--config", str(file)])


def test_check_config_names_what_the_daemon_would_refuse(tmp_path):
    file = tmp_path / "netd.toml"
    for text, words in (
        ('default_address_pools = ["10.0.0.0/16 8"]', "10.0.0.0/16"),
        ('avoid = ["zork"]', "zork"),
        ('group = "no-such-group"', f"{file}: group: there is no group no-such-group; create it with groupadd"),
        ('dns = ["foo"]', f"{file}: dns: 'foo' is not an IP address"),
        ('ui_address = "0.0.0.0:9752"', f"{file}: ui_address: 0.0.0.0 is not a loopback address"),
        (
            'ui_address = "[2001:db8::1]:9752"',
            "2001:db8::1 is not a loopback address, and the page has no authentication",
        ),
        ('ui_address = "9752"', f"{file}: ui_address: '9752' is no address with a port"),
        ('metrics_address = "localhost:1"', "metrics_address: 'localhost:1' is no address with a port"),
        ('host_firewall = "maybe"', f"{file}: host_firewall must be one of ignore, respect"),
    ):
        file.write_text(text)
        refused = netd("--config", file, "--check-config")
        assert refused.returncode == 1 and words in refused.stderr and "Traceback" not in refused.stderr, refused
    file.write_text('dns = ["192.0.2.1"]')
    accepted = netd("--config", file, "--check-config")
    assert accepted.returncode == 0 and accepted.stdout == f"netd: {file} is valid\n"
    file.write_text('storage_driver = "zork"')
    assert netd("--config", file, "--check-config", program="runtime").returncode == 1


def test_print_config_prints_a_file_with_the_source_of_each_value(tmp_path):
    file = tmp_path / "netd.toml"
    file.write_text('dns = ["192.0.2.1"]\n[dns_domains]\n"corp.example" = ["192.0.2.2"]\n')
    printed = netd("--config", file, "--print-config", "--log-level", "debug").stdout
    assert f'dns = ["192.0.2.1"]  # {file}\n' in printed
    assert 'log_level = "debug"  # command line\n' in printed
    assert "plugin_timeout = 15  # default\n" in printed
    found = tomllib.loads(printed)
    assert found["dns_domains"] == {"corp.example": ["192.0.2.2"]}
    assert set(found) == set(definitions()) - {"connection_budget"}


@pytest.mark.parametrize("program", ["netd", "runtime"])
def test_version_and_help_are_printed_without_the_daemon(program):
    assert netd("--version", program=program).stdout.split()[-1].count(".") == 2
    script = f"import sys; sys.argv[1:] = ['--help']\ntry:\n import {program}.__main__ as m; m.main()\n"
    script += "except SystemExit: pass\n"
    script += f"print(sorted(name for name in sys.modules if name in ('asyncio', 'aiohttp', '{program}.daemon')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.endswith("[]\n"), done.stdout[-300:] + done.stderr


def test_a_reload_applies_what_can_change_and_names_the_rest(tmp_path):
    file = tmp_path / "netd.toml"
    file.write_text('dns = ["192.0.2.1"]\n')
    loaded = load("netd", "", ["--config", str(file)])
    file.write_text('dns = ["192.0.2.2"]\nlog_level = "debug"\ngroup = "other"\n')
    settings, changed, need_restart = reload("netd", loaded)
    assert (settings.dns, settings.log_level, settings.group) == (("192.0.2.2",), "debug", "netd")
    assert (sorted(changed), need_restart) == (["dns", "group", "log_level"], ["group"])
    file.write_text("dns = 5")
    with pytest.raises(BadRequest, match="dns must be a list of strings"):
        reload("netd", loaded)
