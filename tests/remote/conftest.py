"""netd on a temporary host, and a plugin that the tests control."""

import itertools
from pathlib import Path

import pytest

from tests.api.conftest import Site
from tests.lab import Lab
from tests.remote.plugin import Plugin

NUMBERS = itertools.count()
TIMEOUT = 1
"""netd's ``plugin_timeout`` in these tests, in seconds."""


class PluginSite(Site):
    def __init__(self, lab, root: Path):
        super().__init__(lab, root)
        self.folder, self.specs = root / "plugins", root / "specs"
        for folder in (self.folder, self.specs):
            folder.mkdir(parents=True)
        self.plugins: list[Plugin] = []
        folders = f'["{self.folder}", "{self.specs}"]'
        (root / "plugins.toml").write_text(f"plugin_dirs = {folders}\nplugin_timeout = {TIMEOUT}\n")

    def spawn(self, *flags):
        return super().spawn("--config", str(self.root / "plugins.toml"), *flags)

    def plugin(self, name="far", **fields):
        self.driver = name
        made = Plugin(self.machine, self.folder / f"{name}.sock", **fields)
        self.plugins.append(made)
        return made

    def far(self, name="n", subnet="10.1.0.0/24", **fields):
        """Create a network of the plugin."""
        return self.network(name, subnet, **{"Driver": self.driver, **fields})

    def state_of_all(self):
        return self.get("/networks"), self.get("/netd/v1/sandboxes"), self.ruleset(), self.links()

    def clear(self):
        for sandbox in self.get("/netd/v1/sandboxes"):
            self.remove(sandbox["Id"])
        self.ask(200, "POST", "/networks/prune")

    def close(self):
        super().close()
        for plugin in self.plugins:
            plugin.close()


@pytest.fixture
def site(lab, tmp_path):
    """A site for one test, which may kill netd."""
    made = PluginSite(lab, tmp_path)
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    laboratory = Lab()
    made = PluginSite(laboratory, tmp_path_factory.mktemp("site"))
    made.start()
    yield made
    made.close()
    laboratory.close()


@pytest.fixture
def place(shared):
    """The shared site, emptied after the test."""
    yield shared
    shared.clear()


@pytest.fixture
def plugin(place):
    """A plugin for one test on the shared site."""
    return place.plugin(f"far{next(NUMBERS)}")
