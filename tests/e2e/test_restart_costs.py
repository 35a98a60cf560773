"""What a restart of each daemon takes per running container, as ceilings: a regression shows without a clock."""

import os
from pathlib import Path

import pytest

from tests.e2e.test_operation_costs import Meter
from tests.installation import IMAGE, running_installation, wait_until

FEW, MANY = 3, 15
CEILINGS = {
    # Links, addresses and routes of the sandbox, the chains of its firewall, the port's filters in both directions.
    "netd": {"netlink": 6},
    "runtime": {},
}
"""What each container may add.  Steps that are not listed, such as threads and transactions, must not depend on it."""
_COUNTS = Path(__file__).parent / "operation_counts"


@pytest.fixture(scope="module")
def added(tmp_path_factory):
    """Return what each of the containers between FEW and MANY has added to a restart: daemon → name → number."""
    root = tmp_path_factory.mktemp("counts") / "counts"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPERATION_COUNTS", str(root))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(_COUNTS), *filter(None, [os.environ.get("PYTHONPATH")])]))
        with running_installation() as installation:
            totals = []
            for number in range(MANY):
                installation.docker.containers.run(IMAGE, ["sleep", "1000"], detach=True)
                if number + 1 in (FEW, MANY):
                    totals.append({name: _restarted(installation, root, name) for name in ("netd", "runtime")})
            few, many = totals
            yield {
                daemon: {key: (many[daemon][key] - few[daemon][key]) / (MANY - FEW) for key in many[daemon]}
                for daemon in many
            }


def _restarted(installation, root, name):
    """Restart a daemon and return what it has counted when all it does about its containers is done."""
    installation.kill(name)
    Path(f"{root}.{name}").unlink()
    installation.start(name)
    wait_until(lambda: "netd answers" in installation.log("runtime"))
    return Meter(root).settled()[name]


def test_a_restart_takes_few_steps_per_container(added):
    above = [
        f"{daemon}: {name} {count:.2f} per container, ceiling {CEILINGS[daemon].get(name, 0)}"
        for daemon, counts in added.items()
        for name, count in counts.items()
        # Half a step is left for what happens by time, such as looks at the kernel.
        if count > CEILINGS[daemon].get(name, 0) + 0.5
    ]
    assert not above, "\n".join(above)
