"""Create requests equal those that Docker's compose was recorded sending for the same project.

``recorded/every_field.json`` holds a canonical document and the bodies of version 2.40.3, without empty fields and with
``$`` in place of ``$$``.
"""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.compose import project_names as names
from netd.compose.config_hash import service_hash
from netd.compose.create.container_body import ContainerIdentity, CreationContext, container_body
from netd.compose.create.container_mounts import mounts
from netd.compose.create.objects import network_body, volume_body
from netd.compose.model import ComposeProject, ComposeService, ServiceVolume, decode_project, encode
from netd.compose.plan import references
from netd.compose.plan.existing import existing

RECORDED = json.loads((Path(__file__).parent / "recorded/every_field.json").read_text())
PROJECT = decode_project(RECORDED["document"])
SENT = {request["name"] or request["body"]["Name"]: request["body"] for request in RECORDED["requests"]}
IDS = {
    "db": SENT["recorded-shared-1"]["HostConfig"]["PidMode"].removeprefix("container:"),
    "redis": SENT["recorded-shared-1"]["HostConfig"]["NetworkMode"].removeprefix("container:"),
}
CONTAINERS = {
    key: [existing({"Id": id, "Names": [f"/recorded-{key}-1"], "Labels": {names.SERVICE: key}})]
    for key, id in IDS.items()
}


def filled(value):
    """Return *value* without empty fields, and with lists without an order sorted."""
    if isinstance(value, dict):
        found = {key: filled(entry) for key, entry in value.items()}
        return {key: entry for key, entry in found.items() if entry not in (None, "", 0, False, [], {}, [0, 0])}
    return [filled(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def comparable(body):
    body = filled(body)
    host = body.get("HostConfig", {})
    for name in ("Mounts", "Binds", "Ulimits", "ExtraHosts"):
        if name in host:
            host[name] = sorted(host[name], key=lambda entry: json.dumps(entry, sort_keys=True))
    if "Env" in body:
        body["Env"] = sorted(body["Env"])
    if names.DEPENDS_ON in body.get("Labels", {}):
        body["Labels"][names.DEPENDS_ON] = sorted(body["Labels"][names.DEPENDS_ON].split(","))
    return body


def body_of(key, number):
    written = PROJECT.services[key]
    service = references.resolved(written, CONTAINERS)
    identity = ContainerIdentity(name=names.container_name(PROJECT.name, key, service, number), number=number)
    context = CreationContext(
        image="busybox",
        image_id=SENT["recorded-db-1"]["Labels"][names.IMAGE],
        working_dir="/srv/app",
        files=("/srv/app/compose.yaml",),
        links=tuple(references.links(PROJECT.name, service, number, CONTAINERS)),
        volumes_from=tuple(references.volumes_from(written, CONTAINERS)),
    )
    return container_body(PROJECT, key, service, identity, context)


@pytest.mark.parametrize("name", sorted(name for name in SENT if name.rpartition("-")[2].isdigit()))
def test_the_request_for_a_container_is_that_of_dockers_compose(name):
    _, key, number = name.split("-")
    sent = comparable(SENT[name])
    ours = comparable(body_of(key, int(number)))
    if key == "shared":
        # Docker's compose drops the mode of volumes_from, so that db's volumes would become writable.
        assert ours["HostConfig"]["VolumesFrom"] == [IDS["redis"], f"{IDS['db']}:ro"]
        ours["HostConfig"]["VolumesFrom"] = sent["HostConfig"]["VolumesFrom"]
    assert ours == sent


@pytest.mark.parametrize("key", sorted(PROJECT.networks))
def test_the_request_for_a_network_is_that_of_dockers_compose(key):
    assert filled(network_body(PROJECT, key)) == SENT[f"recorded_{key}"]


@pytest.mark.parametrize("key", sorted(PROJECT.volumes))
def test_the_request_for_a_volume_is_that_of_dockers_compose(key):
    body = filled(volume_body(PROJECT, key))
    assert body == SENT[f"recorded_{key}"]


def test_what_needs_no_new_container_does_not_change_the_hash():
    service = ComposeService(image="x", environment={"A": "<&>"})
    plain = service_hash(service)
    for field, value in (("scale", 3), ("profiles", ["p"]), ("pull_policy", "always")):
        setattr(service, field, value)
        assert service_hash(service) == plain
    service.environment = {"A": "<&"}
    assert service_hash(service) != plain


def test_the_hash_of_a_service_with_a_build_is_that_of_dockers_compose():
    """The label that version 2.40.3 wrote: how an image is built, started and scaled is no part of it."""
    service = {
        "build": {"context": "/srv/app/sub", "dockerfile": "Dockerfile", "args": {"A": "1"}, "labels": {"x": "y"}},
        "command": None,
        "configs": [{"source": "c"}],
        "depends_on": {"db": {"condition": "service_started", "required": True}},
        "entrypoint": None,
        "environment": {"B": "3"},
        "networks": {"default": None},
        "ports": [{"mode": "ingress", "target": 80, "published": "18081", "protocol": "tcp"}],
        "secrets": [
            {"source": "e", "target": "/x/y", "uid": "1", "mode": "0400"},
            {"source": "e", "target": "/run/secrets/e"},
        ],
        "volumes": [
            {"type": "volume", "target": "/anon", "volume": {}},
            {"type": "volume", "source": "data", "target": "/data", "volume": {}},
        ],
    }
    found = decode_project({"name": "p", "services": {"app": service}}).services["app"]
    assert service_hash(found) == "087cce9c72c5d3395024f686c6830500acbdb2b27b6d942c4d706b5792ea1f51"


def test_the_encoded_form_is_that_of_gos_encoder():
    assert encode(ComposeService(image="<a>", environment={"B": None, "A": "ü"}, cpus=1)) == (
        b'{"cpus":1,"command":null,"entrypoint":null,"environment":{"A":"\xc3\xbc","B":null},"image":"\\u003ca\\u003e"}'
    )


@given(st.dictionaries(st.text(min_size=1), st.one_of(st.none(), st.text())), st.lists(st.text()))
def test_an_encoded_service_decodes_to_itself(environment, command):
    service = ComposeService(image="i", environment=environment, command=command)
    document = {"name": "p", "services": {"s": json.loads(encode(service))}}
    assert decode_project(document).services["s"] == service


def test_a_document_with_an_unknown_field_or_type_is_refused_with_its_path():
    with pytest.raises(ValueError, match=r"`zork` - at `\$\.services"):
        decode_project({"name": "p", "services": {"s": {"image": "x", "zork": 1}}})
    with pytest.raises(ValueError, match=r"\$\.services\[\.\.\.\]\.image"):
        decode_project({"name": "p", "services": {"s": {"image": 1}}})


OLD = (
    {"Type": "volume", "Name": "a1", "Source": "/v/a1", "Destination": "/anon", "RW": True},
    {"Type": "volume", "Name": "a2", "Source": "/v/a2", "Destination": "/image", "RW": True},
    {"Type": "volume", "Name": "p_data", "Source": "/v/data", "Destination": "/data", "RW": True},
    {"Type": "tmpfs", "Source": "", "Destination": "/t", "RW": True},
)


def test_a_replaced_container_keeps_its_anonymous_volumes_and_no_others():
    service = ComposeService(
        image="x",
        volumes=[
            ServiceVolume(type="volume", target="/anon"),
            ServiceVolume(type="volume", source="n", target="/data"),
        ],
    )
    binds, mounted = mounts(ComposeProject(name="p"), service, OLD, ["/image", "/data"])
    assert binds == ["n:/data:rw"]
    assert {mount["Target"]: mount["Source"] for mount in mounted} == {"/anon": "a1", "/image": "a2"}


def test_settings_that_cannot_be_honoured_are_refused_with_their_path():
    service = ComposeService(image="x", credential_spec={"file": "x"})
    with pytest.raises(ValueError, match=r"services\.web\.credential_spec is not supported"):
        container_body(
            ComposeProject(name="p", services={"web": service}),
            "web",
            service,
            ContainerIdentity(name="n"),
            CreationContext(image="x", image_id="y", working_dir="/", files=()),
        )
