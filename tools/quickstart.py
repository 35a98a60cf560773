"""Implementation of tools/quickstart's options: run the demonstration, and remove it and the daemons again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from daemons import BIN, ROOT, SOCKETS, DaemonError, Place, answers, listener, start, stop
from demonstration import IMAGE, NETWORK, Show, StepError, clean, demonstrate, say


def main(option: str = "", *words: str) -> int:
    """Execute an option of tools/quickstart; ``--try`` calls this script with ``--inside`` in a new namespace."""
    if option == "--try":
        return try_it()
    if option == "--inside":
        return check(Place(Path(words[0], "state"), Path(words[0], "run")))
    place = place_of_environment()
    if option == "--remove":
        with reported():
            return remove(Show(place), place, yes="--yes" in words, purge="--purge" in words)
        return 1
    if option == "--check":
        return check(place)
    with reported():
        show = Show(place)
        if option == "--start":
            start_daemons(show, place, [])
            return 0
        start_daemons(show, place, [])
        demonstrate(show)
        print(GO_ON.format(netctl=BIN / "netctl", root=ROOT, place=place, network=NETWORK, image=IMAGE))
        return 0
    return 1


def place_of_environment() -> Place:
    """Return the folders named by NETD_STATE_DIR and NETD_RUN_DIR, or the usual ones."""
    usual = Place()
    return Place(Path(os.environ.get("NETD_STATE_DIR", usual.state)), Path(os.environ.get("NETD_RUN_DIR", usual.run)))


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


def remove(show: Show, place: Place, *, yes: bool = False, purge: bool = False) -> int:
    """Remove the demonstration, then the daemons that were started from here.

    Other objects stay and are listed, and with them the daemons, unless the user agrees (*yes*, or on a terminal).
    The state folder is removed only with *purge*, and only if no object is left.
    """
    silent = [name for name in SOCKETS if not answers(place.socket(name))]
    if silent:
        raise DaemonError(
            f"{' and '.join(silent)} not running, so what {place.state} holds is not known; run tools/quickstart first"
        )
    clean(show)
    others = other_objects(show)
    if others:
        say("There is more than the demonstration:")
        for kind, name in others:
            say(f"  {kind} {name}")
        if not (yes or agreed("Remove all of these too? [y/N] ")):
            print("They stay, and so do the daemons.  Remove them yourself, or with --remove --yes.")
            return 0
        remove_others(show, others)
    stop_daemons(place, [name for name in SOCKETS if started_here(place, name)])
    if any(listener(place.socket(name)) for name in SOCKETS):
        print(f"Daemons that were not started from here go on, with their state in {place.state}.")
        return 0
    delete([place.run, *([place.state] if purge else [])])
    state = "" if purge else f", the state in {place.state} (--remove --purge deletes it)"
    print(f"What is left: Debian's packages libnftables1, busybox-static and python3-venv, the folder {ROOT}{state}.")
    return 0


def other_objects(show: Show) -> list[tuple[str, str]]:
    """Return kind and name (of images the id) of all objects, in the order in which they can be removed."""
    listings = {
        "container": ("ps", "--all"),
        "network": ("network", "ls", "--filter", "type=custom"),
        "volume": ("volume", "ls"),
        "image": ("image", "ls"),
    }
    return [(kind, name) for kind, words in listings.items() for name in names_of(show, words)]


def names_of(show: Show, listing: Sequence[str]) -> list[str]:
    identifiers = list(dict.fromkeys(show.listed(*listing, "--quiet")))
    found = show.documents("inspect", *identifiers) if identifiers else []
    return [document["Name"].lstrip("/") if "Name" in document else document["Id"] for document in found]


def agreed(question: str) -> bool:
    """Ask on the terminal; False without one."""
    return sys.stdin.isatty() and input(question).strip().lower() in ("y", "yes")


def remove_others(show: Show, others: Sequence[tuple[str, str]]) -> None:
    """Remove the objects.  Raises StepError for one that cannot be removed."""
    for kind, name in others:
        force = ["--force"] if kind in ("container", "image") else []
        fault = show.attempt(kind, "rm", *force, name)
        if fault:
            raise StepError(f"{kind} {name} cannot be removed: {fault}")
        say(f"{kind} {name} removed")


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

   sudo {root}/tools/quickstart --remove [--yes] [--purge]
"""

if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
