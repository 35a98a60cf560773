"""``config``: checks the compose files, and prints the canonical project or lists of what it has."""

from __future__ import annotations

from netd.cli.compose.acting.project_context import ComposeContext
from netd.cli.errors import ApiFault, Fault
from netd.cli.parse.flags import Command, switch, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from netd.cli.parse.flags import Options
    from netd.cli.session import Session
    from netd.compose.load import LoadedProject

    Json = dict[str, Any]


_SECTIONS = ("name", "services", "networks", "volumes", "secrets", "configs")


def config(session: Session, options: Options) -> int:
    """Print the project; settings that cannot be honoured are warnings here, because nothing is run."""
    from netd.compose.load import LoadSteps

    form = options.text("format", "yaml")
    if form not in ("yaml", "json") and not _shows_variables(options):
        raise options.refuse("format", form, "use yaml or json")
    context = ComposeContext(session, options)
    interpolate = not options.on("no-interpolate") and not _shows_variables(options)
    steps = LoadSteps(
        interpolate=interpolate,
        normalize=not options.on("no-normalize") and not context.compatibility,
        resolve_paths=not options.on("no-path-resolution"),
        check_consistency=not options.on("no-consistency"),
    )
    services = () if any(map(options.on, _WHOLE_LISTS)) or options.given("hash") else options.args
    loaded = context.load_document(services, steps=steps, allow_unsupported=True)
    lines = _listed(context, loaded, options)
    if lines is not None:
        _write("".join(f"{line}\n" for line in lines), options)
        return 0
    if options.on("resolve-image-digests") or options.on("lock-image-digests"):
        _pin_images(context, loaded.document)
    shown = _images_only(loaded.document) if options.on("lock-image-digests") else loaded.document
    if not options.on("quiet"):
        _write(_shown(shown, form, interpolate), options)
    return 0


_WHOLE_LISTS = ("services", "volumes", "networks", "models")
"""Lists of the whole project, whatever services are named."""


def _shows_variables(options: Options) -> bool:
    return options.on("variables") and not any(map(options.on, (*_WHOLE_LISTS, "profiles", "images", "hash")))


def _listed(context: ComposeContext, loaded: LoadedProject, options: Options) -> Iterable[str] | None:
    """Return the lines of the first list that the flags ask for, in Docker's order; None if they ask for none."""
    document = loaded.document
    section = next((name for name in _WHOLE_LISTS if options.on(name)), None)
    if section:
        return sorted(document.get(section) or ())
    if options.given("hash"):
        return _hashes(document, options.text("hash"))
    if options.on("profiles"):
        return loaded.profiles
    if options.on("images"):
        return _images(context, document)
    if options.on("variables"):
        from netd.cli.compose.project_variables import variables

        return variables(document, options.text("format"))
    if options.on("environment"):
        return [f"{name}={value}" for name, value in sorted(loaded.environment.items())]
    return None


def _images(context: ComposeContext, document: Json) -> list[str]:
    services = document["services"].items()
    project = document["name"]
    return [entry.get("image") or f"{project}{context.between}{name}" for name, entry in sorted(services)]


def _hashes(document: Json, wanted: str) -> list[str]:
    from netd.compose.config_hash import service_hash
    from netd.compose.model import decode_project

    services = decode_project(document).services
    names = sorted(services) if wanted == "*" else [name for name in wanted.split(",") if name]
    for name in names:
        if name not in services:
            raise Fault(f"no such service: {name}: use a service of the project, or '*'")
    return [f"{name} {service_hash(services[name])}" for name in names]


def _pin_images(context: ComposeContext, document: Json) -> None:
    """Add to the image of each service the digest that its registry has for it.  Raises Fault."""
    from netd.cli.commands.registries import auth_header, full_name, tag_or_digest

    for service in document["services"].values():
        image = service.get("image")
        if not image or "@" in image:
            continue
        name = full_name(image) + ("" if tag_or_digest(image) else ":latest")
        path = f"/distribution/{name}/json"
        try:
            found = context.engine.send("GET", path, headers=auth_header(image)).response().json()
        except ApiFault as fault:
            raise Fault(f"failed to resolve digest for {name}: {fault.message}") from None
        service["image"] = f"{name}@{found['Descriptor']['digest']}"


def _images_only(document: Json) -> Json:
    services = {name: {"image": entry["image"]} for name, entry in document["services"].items() if entry.get("image")}
    return {"name": "", "services": services}


def _shown(document: Json, form: str, interpolate: bool) -> str:
    """Return the project as text; a compose file that is equal to it when it is read again."""
    from netd.compose.files.rendering import escaped

    document = escaped(_in_order(document)) if interpolate else _sorted(document)
    if form == "json":
        from json import dumps

        top = {key: document[key] for key in sorted(document)}
        return dumps(top, indent=2, ensure_ascii=False) + "\n"
    return _yaml(_as_file(document) if interpolate else document)


def _as_file(document: Json) -> Json:
    """Return the document without what a compose file cannot have: nulls, and Docker's names of rates."""
    services = {}
    for name, service in document["services"].items():
        kept = {key: value for key, value in service.items() if value is not None}
        if "deploy" in kept:
            kept["deploy"] = {key: value for key, value in kept["deploy"].items() if value != {}}
        if "blkio_config" in kept:
            kept["blkio_config"] = _with_small_keys(kept["blkio_config"])
        for rule in (kept.get("develop") or {}).get("watch") or ():
            if rule.get("exec", {}).get("command", "") is None:
                del rule["exec"]
        services[name] = kept
    for network in (document.get("networks") or {}).values():
        if not network.get("ipam"):
            network.pop("ipam", None)
    return {**document, "services": services}


def _with_small_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key.lower(): _with_small_keys(entry) for key, entry in value.items()}
    return [_with_small_keys(entry) for entry in value] if isinstance(value, list) else value


def _in_order(document: Json) -> Json:
    """Return the document with its fields in Docker's order, and extensions last."""
    from json import loads

    from netd.compose.model import decode_project, encode

    ordered: Json = loads(encode(decode_project(document)))
    return {
        **{key: ordered[key] for key in _SECTIONS if key in ordered},
        **{key: _sorted(document[key]) for key in sorted(document) if key.startswith("x-")},
    }


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(entry) for entry in value] if isinstance(value, list) else value


def _yaml(document: Json) -> str:
    import yaml

    text_tag = "tag:yaml.org,2002:str"

    class Dumper(yaml.SafeDumper):
        """Indents lists below their key, writes texts of several lines as blocks, and uses no aliases."""

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            super().increase_indent(flow, False)

        def ignore_aliases(self, data: Any) -> bool:
            return True

    resolved: Any = yaml.resolver.Resolver().resolve

    def block(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        plain = resolved(yaml.ScalarNode, value, (True, False)) == text_tag and value not in ("y", "Y", "n", "N")
        style = "|" if "\n" in value else None if plain else '"'
        return dumper.represent_scalar(text_tag, value, style=style)

    Dumper.add_representer(str, block)
    shown: str = yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=10**6)
    return shown


def _write(shown: str, options: Options) -> None:
    import sys

    name = options.text("output")
    if not name:
        sys.stdout.write(shown)
        return
    try:
        with open(name, "w", encoding="utf-8") as file:
            file.write(shown)
    except OSError as error:
        raise Fault(f"cannot write {name}: {error.strerror}: name another file with -o") from None


COMMANDS = {
    "compose config": Command(
        "compose config [FLAGS] [SERVICE...]",
        config,
        (
            text("format", "", "FORMAT", "yaml or json", values="words:yaml json"),
            switch("quiet", "q", "Check the files only, and print nothing"),
            switch("services", "", "Print the names of the services"),
            switch("volumes", "", "Print the names of the volumes"),
            switch("networks", "", "Print the names of the networks"),
            switch("images", "", "Print the images of the services"),
            switch("profiles", "", "Print the profiles that services name"),
            text("hash", "", "SERVICE", "Print the hash of a service, or of all with '*'", values="service"),
            switch("environment", "", "Print the variables that references take their values from"),
            switch("models", "", "Print the names of the models"),
            switch("variables", "", "Print the variables that the files refer to, with their defaults"),
            switch("no-interpolate", "", "Leave references to variables as they are"),
            switch("no-normalize", "", "Add no implied settings, such as the default network"),
            switch("no-path-resolution", "", "Leave paths relative to the folder of the project"),
            switch("no-consistency", "", "Do not check references between services, networks, volumes and secrets"),
            switch("no-env-resolution", "", "Accepted for Docker's sake, whose output is the same with it"),
            switch("resolve-image-digests", "", "Add to each image its digest at the registry"),
            switch("lock-image-digests", "", "Print the images with their digests only, as an override file"),
            text("output", "o", "FILE", "Write to a file instead", values="file"),
        ),
        completions=("service",),
    )
}  # fmt: skip
