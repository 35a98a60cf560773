"""``build``, ``pull`` and ``push``."""

from __future__ import annotations

import os

from netd.cli.compose.acting.event_display import DONE, ERROR, WARNING
from netd.cli.compose.acting.ordered_jobs import run_all
from netd.cli.compose.acting.project_context import ComposeContext
from netd.cli.compose.acting.service_images import ImageProvider
from netd.cli.errors import Fault
from netd.cli.parse import units
from netd.cli.parse.flags import Command, many, switch, text
from netd.compose.plan.dependencies import closure, edges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from netd.cli.compose.acting.project_context import ActiveProject
    from netd.cli.parse.flags import Options
    from netd.cli.session import Session


def build(session: Session, options: Options) -> int:
    context = ComposeContext(session, options)
    active = context.load(options.args)
    keys = _keys(active, options, "with-dependencies")
    keys = [key for key in keys if active.project.services[key].build is not None]
    arguments = dict(_argument(word) for word in options.many("build-arg"))
    with context.display() as display:
        provider = ImageProvider(context, active, display, quiet_build=options.on("quiet"))
        if not keys:
            display.warn("No services to build")
        for key in keys:
            provider.build(
                key,
                no_cache=options.on("no-cache"),
                pull=options.on("pull"),
                arguments=arguments,
                memory=options.converted("memory", units.memory),
            )
        if options.on("push"):
            for key in keys:
                _push(context, provider.name(key))
    return 0


def pull(session: Session, options: Options) -> int:
    """Pull each image once; with ``--ignore-pull-failures`` those that fail are reported only."""
    context = ComposeContext(session, options)
    active = context.load(options.args)
    keys = _keys(active, options, "include-deps")
    with context.display() as display:
        provider = ImageProvider(context, active, display)
        images: dict[str, str] = {}
        for key in keys:
            service = active.project.services[key]
            if service.build is not None and (not service.image or options.on("ignore-buildable")):
                display.event(f"Service {key}", "Skipped", WARNING, "it is built")
            else:
                images.setdefault(provider.name(key), service.platform)

        def job(image: str) -> None:
            try:
                provider.pull(image, images[image])
            except Fault as fault:
                if not options.on("ignore-pull-failures"):
                    raise Fault(f"cannot pull {image}: {fault.message}") from None

        missing = _missing_only(context, options, list(images))
        run_all(missing, job, context.cancellation, context.limit)
    return 0


def push(session: Session, options: Options) -> int:
    context = ComposeContext(session, options)
    active = context.load(options.args)
    with context.display() as display:
        provider = ImageProvider(context, active, display)
        for key in _keys(active, options, "include-deps"):
            service = active.project.services[key]
            if service.build is None or not service.image:
                reason = "its image is not built here" if service.image else "its image has no name"
                display.event(f"Service {key}", "Skipped", WARNING, reason)
                continue
            image = provider.name(key)
            display.event(f"Image {image}", "Pushing")
            try:
                for name in dict.fromkeys([image, *service.build.tags]):
                    _push(context, name)
            except Fault as fault:
                display.event(f"Image {image}", "Error", ERROR, fault.message)
                if not options.on("ignore-push-failures"):
                    raise
            else:
                display.event(f"Image {image}", "Pushed", DONE)
    return 0


def _push(context: ComposeContext, image: str) -> None:
    from json import loads

    from netd.cli.commands.registries import auth_header, tag_or_digest

    tag = tag_or_digest(image)
    repository = image.removesuffix(f":{tag}") if tag else image
    path = f"/images/{repository}/push"
    request = context.engine.send("POST", path, query=(("tag", tag or "latest"),), headers=auth_header(repository))
    for line in request.response().lines():
        if error := loads(line).get("error"):
            raise Fault(str(error))


def _missing_only(context: ComposeContext, options: Options, images: list[str]) -> list[str]:
    policy = options.text("policy", "always")
    if policy not in ("always", "missing"):
        raise options.refuse("policy", policy, "use always or missing")
    if policy == "always":
        return images
    tags = {name for image in context.engine.get("/images/json") for name in image.get("RepoTags") or ()}
    return [image for image in images if image not in tags and f"{image}:latest" not in tags]


def _keys(active: ActiveProject, options: Options, with_dependencies: str) -> list[str]:
    keys = active.services(options.args)
    if not options.on(with_dependencies):
        return keys
    try:
        return closure(edges(active.project.services), keys)
    except ValueError as error:
        raise Fault(str(error)) from None


def _argument(word: str) -> tuple[str, str | None]:
    name, equals, value = word.partition("=")
    return name, value if equals else os.environ.get(name)


COMMANDS = {
    "compose build": Command(
        "compose build [FLAGS] [SERVICE...]",
        build,
        (
            many("build-arg", "", "NAME[=VALUE]", "Set an ARG of all builds; without value, that of this environment"),
            text("memory", "m", "SIZE", "Memory limit of RUN"),
            switch("no-cache", "", "Carry out all steps again"),
            switch("pull", "", "Pull base images also if they are on this host"),
            switch("push", "", "Push the images"),
            switch("quiet", "q", "Show no output of builds"),
            switch("with-dependencies", "", "Build the services that those depend on as well"),
        ),
        completions=("service",),
    ),
    "compose pull": Command(
        "compose pull [FLAGS] [SERVICE...]",
        pull,
        (
            switch("ignore-buildable", "", "Pull no images that can be built"),
            switch("ignore-pull-failures", "", "Continue after images that cannot be pulled"),
            switch("include-deps", "", "Pull the images of dependencies as well"),
            text(
                "policy", "", "POLICY", "Images to pull: always all, or missing (always)", values="words:always missing"
            ),
            switch("quiet", "q", "Show no progress"),
        ),
        completions=("service",),
    ),
    "compose push": Command(
        "compose push [FLAGS] [SERVICE...]",
        push,
        (
            switch("ignore-push-failures", "", "Continue after images that cannot be pushed"),
            switch("include-deps", "", "Push the images of dependencies as well"),
            switch("quiet", "q", "Show no progress"),
        ),
        completions=("service",),
    ),
}
