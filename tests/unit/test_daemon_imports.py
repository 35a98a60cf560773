"""Which modules the daemons load: the root of pyroute2 would add 10 MB and 120 ms to netd's start."""

import subprocess
import sys
from importlib.metadata import version

import pytest

WITHOUT = ("unittest", "pyroute2", "pyroute2.ipdb", "pyroute2.ndb", "dnslib", "scapy")


@pytest.mark.parametrize("daemon", ["netd.daemon", "runtime.daemon"])
def test_a_daemon_loads_no_module_that_it_does_not_use(daemon):
    code = f"import sys, {daemon}; print(*(name for name in {WITHOUT!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_root_of_pyroute2_can_still_be_imported_later():
    code = "import netd.kernel.netlink.rtnl, pyroute2; print(pyroute2.IPRoute.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "IPRoute"


CLIENT = ("aiohttp.client", "aiohttp.connector", "aiohttp.cookiejar", "aiohttp.formdata")


@pytest.mark.parametrize("daemon", ["netd", "runtime"])
def test_a_daemon_starts_without_the_http_client(daemon):
    code = (
        "from netd.common.http import aiohttp_root; aiohttp_root.install()\n"
        f"import sys, {daemon}.daemon; print(*(name for name in {CLIENT!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_http_client_is_loaded_when_it_is_used():
    code = (
        "from netd.common.http import aiohttp_root; aiohttp_root.install()\n"
        "import sys, aiohttp.web, aiohttp\n"
        "print(aiohttp.ClientSession.__module__, hasattr(aiohttp, 'no_such_name'), aiohttp.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["aiohttp.client", "False", version("aiohttp")]
