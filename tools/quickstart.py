"""Implementation of tools/quickstart's options: run the demonstration, and remove it and the daemons again."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from daemons import BIN, ROOT, SOCKETS, DaemonError, Place, listener, start, stop
from demonstration import IMAGE, NETWORK, Show, StepError, clean, demonstrate, say


def main(option: str = "", directory: str = "") -> int:
    """Execute an option of tools/quickstart; ``--try`` calls this script with ``--inside`` in a new namespace."""
    if option == "--try":
        return try_it()
    if option == "--inside":
        return check(Place(Path(directory, "state"), Path(directory, "run")))
    place = Place()
    if option == "--remove":
        return remove(Show(place), place)
    if option == "--check":
        return check(place)
    with reported():
        show = Show(place)
        start_daemons(show, place, [])
        demonstrate(show)
        print(GO_ON.format(netctl=BIN / "netctl", root=ROOT, place=place, network=NETWORK, image=IMAGE))
        return 0
    return 1


def try_it() -> int:
    directory = tempfile.mkdtemp(prefix="netd-try-")
    try:
        inner = [sys.executable, __file__, "--inside", directory]
        return subprocess.run([ROOT / "tools/apart", *inner], check=False).returncode
    finally:
        shutil.rmtree(directory)


def check(place: Place) -> int:
    """Run the demonstration, then remove everything that did not exist before."""
    show, started, done = Show(place), list[str](), False
    fresh = [directory for directory in (place.run, place.state) if not directory.exists()]
    with reported():
        try:
            start_daemons(show, place, started)
            demonstrate(show)
            done = True
        finally:
            show.title("Clean up")
            clean(show)
            stop_daemons(place, started)
            if len(started) == len(SOCKETS):
                delete(fresh)
    print("\nEverything worked." if done else "\nThat failed.", flush=True)
    return 0 if done else 1


def start_daemons(show: Show, place: Place, started: list[str]) -> None:
    """Start the daemons that are not running, and add their names to *started*."""
    show.title("Start the daemons")
    for name in SOCKETS:
        if start(place, name):
            started.append(name)
            say(f"{name} started; it listens on {place.socket(name)} and logs to {place.log(name)}")
        else:
            say(f"{name} runs already (process {listener(place.socket(name))})")


def remove(show: Show, place: Place) -> int:
    """Remove the demonstration; if there are no other objects, also the daemons started here and their state."""
    clean(show)
    kept = {
        "containers": show.quietly("ps", "--all", "--quiet").split(),
        "networks": show.quietly("network", "ls", "--quiet", "--filter", "type=custom").split(),
        "volumes": show.quietly("volume", "ls", "--quiet").split(),
        "images": show.quietly("image", "ls", "--quiet").split(),
    }
    left = [f"{len(found)} {kind}" for kind, found in kept.items() if found]
    if left:
        print(f"The daemons stay, because there is more than the demonstration: {', '.join(left)}.")
        return 0
    stop_daemons(place, [name for name in SOCKETS if started_here(place, name)])
    if any(listener(place.socket(name)) for name in SOCKETS):
        print(f"Daemons that were not started from here go on, with their state in {place.state}.")
        return 0
    delete([place.run, place.state])
    print(f"What is left: Debian's packages libnftables1, busybox-static and python3-venv, and the folder {ROOT}.")
    return 0


def stop_daemons(place: Place, names: Sequence[str]) -> None:
    """Stop the daemons in reverse start order."""
    for name in reversed(names):
        stop(place, name)
        say(f"{name} stopped")


def delete(directories: Sequence[Path]) -> None:
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)
        say(f"{directory} removed")


def started_here(place: Place, name: str) -> bool:
    pid = listener(place.socket(name))
    return pid is not None and str(BIN).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()


@contextmanager
def reported() -> Iterator[None]:
    """Print errors of the demonstration, the daemons and their programs to standard error instead of raising them."""
    try:
        yield
    except (StepError, DaemonError, subprocess.CalledProcessError) as error:
        print(f"\nquickstart: {error}", file=sys.stderr, flush=True)


GO_ON = """
netd and netd-runtime go on running.  Go on with

   sudo {netctl} run -it --rm --network {network} {image}
   sudo {netctl} network create --driver bridge my-network
   sudo {netctl} --help
   sudo DOCKER_HOST=unix://{place.run}/docker.sock docker ps     (any Docker client works)
   sudo {root}/examples/voting-app/up                    (five services on two networks)

and remove everything with

   sudo {root}/tools/quickstart --remove
"""

if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
