"""Every verb, the module that holds it, and its line in the overview.  Pure data, read before any of them."""

from __future__ import annotations

VERBS: dict[str, tuple[str, str]] = {
    "run": ("run", "Create a container from an image and run it"),
    "exec": ("execute", "Run a further program in a running container"),
    "ps": ("ps", "List containers"),
    "logs": ("logs", "Show what a container has written"),
    "inspect": ("inspect", "Show everything about containers, images, networks and volumes as JSON"),
    "create": ("run", "Create a container without starting it"),
    "start": ("lifecycle", "Start stopped containers"),
    "stop": ("lifecycle", "Stop running containers"),
    "restart": ("lifecycle", "Stop containers and start them again"),
    "kill": ("lifecycle", "Send a signal to running containers"),
    "rm": ("lifecycle", "Remove containers"),
    "pause": ("lifecycle", "Freeze all processes of containers"),
    "unpause": ("lifecycle", "Let frozen containers go on"),
    "rename": ("lifecycle", "Give a container another name"),
    "wait": ("lifecycle", "Wait until containers have stopped, and print their exit codes"),
    "attach": ("lifecycle", "Connect this terminal to a running container"),
    "port": ("port", "List the published ports of a container"),
    "port add": ("port", "Publish more ports of a container, also while it runs"),
    "port rm": ("port", "Publish ports of a container no more, also while it runs"),
    "port ls": ("port", "List the published ports of a container"),
    "top": ("ps", "List the processes of a container"),
    "stats": ("stats", "Show what containers use of processor, memory and network, once"),
    "network create": ("network", "Create a network"),
    "network ls": ("network", "List networks"),
    "network inspect": ("network", "Show networks as JSON"),
    "network rm": ("network", "Remove networks"),
    "network prune": ("network", "Remove the networks that no container uses"),
    "network connect": ("network", "Connect a container to a network"),
    "network disconnect": ("network", "Take a container off a network"),
    "volume create": ("volume", "Create a volume"),
    "volume ls": ("volume", "List volumes"),
    "volume inspect": ("volume", "Show volumes as JSON"),
    "volume rm": ("volume", "Remove volumes"),
    "volume prune": ("volume", "Remove the volumes that no container uses"),
    "image import": ("image", "Make an image from a tar archive of a root file system"),
    "image ls": ("image", "List images"),
    "image rm": ("image", "Remove images"),
    "image tag": ("image", "Give an image a further name"),
    "image inspect": ("image", "Show images as JSON"),
    "image history": ("image", "Show the layers of an image and how they were made"),
    "container inspect": ("inspect", "Show containers as JSON"),
    "events": ("logs", "Show what happens, as it happens"),
    "version": ("system", "Show the versions of netctl and the daemons"),
    "info": ("system", "Show what the daemons say about themselves and the host"),
    "completion": ("completion", "Print the completion script for a shell"),
    "__complete": ("completion", "Print what may come next on a command line"),
}

GROUPS = {
    "container": "Containers (the verbs below also work without this word)",
    "image": "Images",
    "network": "Networks",
    "volume": "Volumes",
}

CONTAINER_VERBS = (
    "run",
    "create",
    "start",
    "stop",
    "restart",
    "kill",
    "rm",
    "ps",
    "logs",
    "exec",
    "port",
    "wait",
    "pause",
    "unpause",
    "rename",
    "top",
    "stats",
    "attach",
)

ALIASES = {
    "images": "image ls",
    "rmi": "image rm",
    "tag": "image tag",
    "history": "image history",
    "image list": "image ls",
    "image remove": "image rm",
    "network list": "network ls",
    "network remove": "network rm",
    "volume list": "volume ls",
    "volume remove": "volume rm",
    "container ls": "ps",
    "container list": "ps",
    "container remove": "rm",
    **{f"container {verb}": verb for verb in CONTAINER_VERBS},
    **{f"container port {verb}": f"port {verb}" for verb in ("add", "rm", "ls")},
}


def find(words: list[str]) -> tuple[str, list[str]]:
    """Return the verb that *words* begin with, by its name in VERBS or "", and the words after it."""
    for length in (3, 2, 1):
        name = " ".join(words[:length])
        name = ALIASES.get(name, name)
        if len(words) >= length and name in VERBS:
            return name, words[length:]
    return "", words
