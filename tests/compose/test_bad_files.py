"""Files that cannot be used are refused in one sentence with file, line, column and path; limits bound what is read."""

from __future__ import annotations

import os

import pytest

from netd.compose.load import ComposeError
from tests.compose.test_compose_load import load


def refusal(folder, text: str, **options) -> str:
    with pytest.raises(ComposeError) as caught:
        load(folder, text, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"{folder}/", "")


WEB = "services:\n  web:\n    image: x\n"
PLACES = {
    "a key with a typing error": (
        WEB + "    enviroment: {}\n",
        "compose.yaml:4:5: services.web.enviroment: the key is not known: did you mean 'environment'?",
    ),
    "a value of another type": (
        WEB + "    ports: 80\n",
        "compose.yaml:4:5: services.web.ports: must be a list, not 80",
    ),
    "a key in a list": (
        WEB + "    ports:\n      - target: 80\n        publish: 1\n",
        "compose.yaml:6:9: services.web.ports[0].publish: the key is not known: did you mean 'published'?",
    ),
    "a tab": (
        "services:\n\tweb: {}\n",
        "compose.yaml:2:1: the line is indented with a tab, which YAML does not allow: use spaces",
    ),
    "a variable that is missing": (
        "services:\n  web:\n    image: ${IMAGE:?set IMAGE}\n",
        "compose.yaml:3:5: services.web.image: required variable IMAGE is missing a value: set IMAGE",
    ),
    "a key that is there twice": (
        WEB + "    image: y\n",
        "compose.yaml:4:5: services.web: the key 'image' is already defined at line 3: delete one of the two",
    ),
    "a size": (
        WEB + "    mem_limit: lots\n",
        "compose.yaml:4:5: services.web.mem_limit: invalid size 'lots': use a number with b, k, m or g, such as 100m",
    ),
    "a network that is not defined": (
        WEB + "    networks: [fornt]\nnetworks: {front: }\n",
        "compose.yaml:4:5: services.web.networks.fornt: service 'web' refers to undefined network fornt:"
        " did you mean 'front'?",
    ),
    "a cycle of dependencies": (
        "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [a]}\n",
        "compose.yaml:3:17: services.b.depends_on: dependency cycle detected: a -> b -> a",
    ),
    "a cycle of extends": (
        "services:\n  a: {extends: b}\n  b: {extends: a}\n",
        "compose.yaml:2:7: services.a.extends: circular reference:"
        " a in compose.yaml extends b in compose.yaml extends a in compose.yaml",
    ),
    "a file that includes itself": (
        "include: [compose.yaml]\n",
        "compose.yaml:1:11: include[0]: include cycle detected: compose.yaml includes compose.yaml",
    ),
    "an included file that does not exist": (
        "include: [nowhere.yaml]\n",
        "compose.yaml:1:11: include[0]: the compose file nowhere.yaml does not exist: correct the path",
    ),
    "an included file that is elsewhere": (
        "include: ['https://example.org/compose.yaml']\n",
        "compose.yaml:1:11: include[0]: https://example.org/compose.yaml is not on this host:"
        " download it, and name the file",
    ),
    "what netd does not have": (
        WEB + "    gpus: all\n",
        "compose.yaml:4:5: services.web.gpus:"
        " devices of drivers are not supported: pass the device files with `devices`",
    ),
    "a number of containers": (
        WEB + "    scale: -1\n",
        "compose.yaml:4:5: services.web.scale: the number of containers must be 0 or more, not -1",
    ),
    "an alias without anchor": (
        "services: *here\n",
        "compose.yaml:1:11: the alias *here has no anchor &here before it: define it",
    ),
    "a text": ("hello\n", "compose.yaml: top-level object must be a mapping: add a key `services`"),
}


@pytest.mark.parametrize("what", PLACES)
def test_the_error_names_file_line_column_and_path(what, tmp_path):
    text, message = PLACES[what]
    assert refusal(tmp_path, text) == message


def test_aliases_that_multiply_are_refused(tmp_path):
    lines = ["x-0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"x-{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 10)]
    assert "more than 200,000 values" in refusal(tmp_path, "\n".join(lines))


def test_deep_nesting_is_refused(tmp_path):
    assert "nests deeper than 64 levels" in refusal(tmp_path, "x-a: " + "[" * 500 + "]" * 500)


def test_defaults_that_nest_deeply_are_refused(tmp_path):
    text = "${A:-" * 500 + "}" * 500
    assert "nest deeper than 20 levels" in refusal(tmp_path, f'services: {{a: {{image: "{text}"}}}}')


def test_services_that_multiply_by_extends_are_refused(tmp_path):
    labels = ", ".join(f"l{number}: x" for number in range(1000))
    services = [f"  s{number}: {{extends: base}}" for number in range(1100)]
    text = "\n".join(["services:", f"  base: {{image: x, labels: {{{labels}}}}}", *services])
    assert "more than 1,000,000 values with its extends expanded" in refusal(tmp_path, text)


def test_port_ranges_that_multiply_are_refused(tmp_path):
    text = WEB + "    ports:\n" + "".join(f'      - "127.0.0.{n}:1-65535:1-65535"\n' for n in range(1, 5))
    assert refusal(tmp_path, text) == "compose.yaml:4:5: services.web.ports: more than 200,000 ports: shorten the list"


def test_a_long_range_of_ports_is_an_entry_for_each_port(tmp_path):
    ports = load(tmp_path, WEB + '    ports: ["127.0.0.1:10000-10999:1-1000/udp"]').document["services"]["web"]["ports"]
    assert [(port["target"], port["published"]) for port in ports[:2]] == [(1, "10000"), (2, "10001")]
    assert len(ports) == 1000 and ports[-1]["published"] == "10999" and ports[-1]["host_ip"] == "127.0.0.1"


def test_a_large_file_is_refused_before_it_is_parsed(tmp_path):
    with open(tmp_path / "compose.yaml", "wb") as file:
        file.truncate(100 << 20)
    assert refusal(tmp_path, "") == "the compose file compose.yaml is larger than 8 MiB: split it"


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xff\xfe\x00", "is no UTF-8 text (byte 0)"), (b"a\0b", "is not a YAML text")],
)
def test_a_file_that_is_no_text_is_refused(tmp_path, content, message):
    (tmp_path / "compose.yaml").write_bytes(content)
    assert message in refusal(tmp_path, "")


def test_a_folder_and_a_device_are_refused(tmp_path):
    (tmp_path / "compose.yaml").mkdir()
    assert refusal(tmp_path, "") == "the compose file compose.yaml is a directory: name a file"
    with pytest.raises(ComposeError, match="is no regular file"):
        load(tmp_path, files=[os.devnull])


@pytest.mark.parametrize("name", ["Bad Name", "-a", "_a", "ü"])
def test_an_invalid_project_name_is_refused(tmp_path, name):
    assert refusal(tmp_path, WEB, project_name=name).startswith(f"invalid project name {name!r}")


def test_a_project_is_named_after_its_folder_without_invalid_characters(tmp_path):
    folder = tmp_path / "_My Project.1"
    folder.mkdir()
    assert load(folder, WEB).document["name"] == "myproject1"


def test_a_service_that_does_not_exist_is_refused_with_the_nearest_name(tmp_path):
    assert refusal(tmp_path, WEB, services=["wbe"]) == "no such service: wbe: did you mean 'web'?"
