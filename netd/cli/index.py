"""Names, aliases and summaries of all verbs, and the module in ``netd.cli.commands`` of each.  Pure data."""

from __future__ import annotations

VERBS: dict[str, tuple[str, str]] = {
    "run": ("run", "Create a container from an image and run it"),
    "exec": ("execute", "Run a command in a running container"),
    "ps": ("ps", "List containers"),
    "logs": ("logs", "Show the output of a container"),
    "inspect": ("inspect", "Show containers, images, networks and volumes as JSON"),
    "create": ("run", "Create a container without starting it"),
    "start": ("lifecycle", "Start stopped containers"),
    "stop": ("lifecycle", "Stop running containers"),
    "restart": ("lifecycle", "Restart containers"),
    "kill": ("lifecycle", "Send a signal to running containers"),
    "rm": ("lifecycle", "Remove containers"),
    "pause": ("lifecycle", "Suspend all processes of containers"),
    "unpause": ("lifecycle", "Resume all processes of containers"),
    "rename": ("lifecycle", "Rename a container"),
    "update": ("update", "Change resource limits and restart policy of containers"),
    "wait": ("lifecycle", "Wait until containers have stopped, and print their exit codes"),
    "attach": ("lifecycle", "Attach the terminal to a running container"),
    "port": ("port", "List the published ports of a container"),
    "port add": ("port", "Publish ports of a container, running or stopped"),
    "port rm": ("port", "Unpublish ports of a container, running or stopped"),
    "port ls": ("port", "List the published ports of a container"),
    "cp": ("copy", "Copy files between a container and the disk or standard streams"),
    "diff": ("copy", "List the files of a container that differ from its image"),
    "export": ("copy", "Write the files of a container as a tar archive"),
    "top": ("ps", "List the processes of a container"),
    "stats": ("stats", "Show the resource usage of containers, once"),
    "network create": ("network", "Create a network"),
    "network ls": ("network", "List networks"),
    "network inspect": ("network", "Show networks as JSON"),
    "network rm": ("network", "Remove networks"),
    "network prune": ("network", "Remove all unused networks"),
    "network connect": ("network", "Connect a container to a network"),
    "network disconnect": ("network", "Disconnect a container from a network"),
    "volume create": ("volume", "Create a volume"),
    "volume ls": ("volume", "List volumes"),
    "volume inspect": ("volume", "Show volumes as JSON"),
    "volume rm": ("volume", "Remove volumes"),
    "volume prune": ("volume", "Remove unused volumes"),
    "image pull": ("registries", "Pull an image from a registry"),
    "image push": ("registries", "Push an image to a registry"),
    "login": ("registries", "Log in to a registry"),
    "logout": ("registries", "Log out from a registry"),
    "search": ("registries", "Search the images of a registry"),
    "image build": ("build", "Build an image from a Dockerfile"),
    "builder prune": ("build", "Remove the build cache"),
    "image import": ("image", "Create an image from a tar archive of a root file system"),
    "image ls": ("image", "List images"),
    "image rm": ("image", "Remove images"),
    "image tag": ("image", "Add a name to an image"),
    "image inspect": ("image", "Show images as JSON"),
    "image history": ("image", "Show the layers of an image and the commands that created them"),
    "container inspect": ("inspect", "Show containers as JSON"),
    "events": ("logs", "Show events of the daemons as they occur"),
    "version": ("system", "Show the versions of netctl and the daemons"),
    "reload": ("system", "Make the daemons read their configuration again"),
    "info": ("system", "Show information about the daemons and the host"),
    "completion": ("completion", "Print the completion script for a shell"),
    "__complete": ("completion", "Print the completions of a command line"),
}

GROUPS = {
    "builder": "Builds",
    "container": "Containers (the verbs below also work without 'container')",
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
    "update",
    "cp",
    "diff",
    "export",
    "top",
    "stats",
    "attach",
)

ALIASES = {
    "images": "image ls",
    "build": "image build",
    "builder build": "image build",
    "rmi": "image rm",
    "tag": "image tag",
    "pull": "image pull",
    "push": "image push",
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
    """Return the key in VERBS of the verb at the start of *words* ("" if there is none), and the remaining words."""
    for length in (3, 2, 1):
        name = " ".join(words[:length])
        name = ALIASES.get(name, name)
        if len(words) >= length and name in VERBS:
            return name, words[length:]
    return "", words
