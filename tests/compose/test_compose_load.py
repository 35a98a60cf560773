"""Projects are loaded from files, flags and variables."""

from __future__ import annotations

import pytest

from netd.compose.load import ComposeError, LoadedProject, load_project


def load(folder, text: str = "", *, name: str = "compose.yaml", environment=None, **options) -> LoadedProject:
    if text:
        (folder / name).write_text(text)
    given = {"project_name": None, "project_directory": None, "profiles": (), "env_files": (), **options}
    files = given.pop("files", [folder / name])
    return load_project(files, environment=environment or {}, **given)


USERS_FILE = """
version: 2
services:
  vote: {image: voting-app, ports: ["5000:80"], links: [redis], networks: [front-end, back-end]}
  redis:
    image: redis
    networks:
      - back-end:
  result: {image: result-app, networks: [front-end, back-end]}
networks:
  - front-end:
  - back-end:
"""


def test_the_file_of_version_2_with_networks_as_a_list_is_read(tmp_path):
    document = load(tmp_path, USERS_FILE, project_name="voting").document
    assert document["networks"]["back-end"]["name"] == "voting_back-end"
    assert document["services"]["redis"]["networks"] == {"back-end": None}
    assert document["services"]["vote"]["depends_on"]["redis"]["condition"] == "service_started"
    assert document["services"]["vote"]["ports"] == [
        {"mode": "ingress", "target": 80, "published": "5000", "protocol": "tcp"}
    ]


def test_an_unknown_key_is_refused_with_its_place_and_the_nearest_key(tmp_path):
    with pytest.raises(ComposeError) as caught:
        load(tmp_path, "services:\n  web:\n    image: x\n    prots: ['80']\n")
    assert str(caught.value) == (
        f"{tmp_path}/compose.yaml:4:5: services.web.prots: the key is not known: did you mean 'ports'?"
    )


IMAGE = "services: {web: {image: x, labels: {from: FILE, v: '${V-none}'}}}\n"


def found(folder, cwd, monkeypatch, environment=None, **options):
    """Load what is found from *cwd* upwards."""
    monkeypatch.chdir(cwd)
    return load(folder, files=[], environment=environment, **options)


def test_the_nearest_file_above_the_current_folder_is_found_with_its_override(tmp_path, monkeypatch):
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "compose.yaml").write_text("services: {far: {image: x}}\n")
    (tmp_path / "a" / "docker-compose.yml").write_text("services: {near: {image: x}}\n")
    (tmp_path / "a" / "docker-compose.override.yml").write_text("services: {near: {user: u}}\n")
    loaded = found(tmp_path, below, monkeypatch)
    assert loaded.document["services"]["near"]["user"] == "u"
    assert loaded.working_dir == tmp_path / "a" and loaded.document["name"] == "a"
    assert [file.name for file in loaded.files] == ["docker-compose.yml", "docker-compose.override.yml"]


def test_compose_yaml_is_preferred_and_named_files_have_no_override(tmp_path, monkeypatch):
    for name in ("docker-compose.yml", "compose.yml", "compose.yaml"):
        (tmp_path / name).write_text(f"services: {{{name.replace('.', '-')}: {{image: x}}}}\n")
    (tmp_path / "compose.override.yaml").write_text("services: {other: {image: x}}\n")
    assert set(found(tmp_path, tmp_path, monkeypatch).document["services"]) == {"compose-yaml", "other"}
    assert set(load(tmp_path, name="compose.yml").document["services"]) == {"compose-yml"}


def test_variables_name_files_profiles_and_project(tmp_path, monkeypatch):
    (tmp_path / "a.yaml").write_text("services: {web: {image: x}}\n")
    (tmp_path / "b.yaml").write_text("services: {web: {user: u}, extra: {image: x, profiles: [p]}}\n")
    environment = {
        "COMPOSE_FILE": "a.yaml;b.yaml",
        "COMPOSE_PATH_SEPARATOR": ";",
        "COMPOSE_PROJECT_NAME": "named",
        "COMPOSE_PROFILES": "p,q",
    }
    document = found(tmp_path, tmp_path, monkeypatch, environment).document
    assert document["name"] == "named" and set(document["services"]) == {"web", "extra"}
    assert document["services"]["web"]["user"] == "u"


def test_variables_of_the_environment_precede_those_of_files(tmp_path, monkeypatch):
    (tmp_path / "compose.yaml").write_text(IMAGE)
    (tmp_path / ".env").write_text("V=dot\nCOMPOSE_PROJECT_NAME=from-dot-env\n")
    (tmp_path / "other.env").write_text("V=other\n")

    def value(environment=None, **options):
        return found(tmp_path, tmp_path, monkeypatch, environment, **options).document["services"]["web"]["labels"]["v"]

    assert value() == "dot"
    assert value({"V": "own"}) == "own"
    assert value(env_files=[tmp_path / "other.env"]) == "other"
    assert value({"COMPOSE_ENV_FILES": "other.env"}) == "other"
    assert value({"COMPOSE_DISABLE_ENV_FILE": "1"}) == "none"
    assert found(tmp_path, tmp_path, monkeypatch).document["name"] == "from-dot-env"


def test_paths_start_at_the_folder_of_the_first_file_or_at_the_given_one(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "compose.yaml").write_text("services: {web: {build: ./here, env_file: []}}\n")
    file = tmp_path / "sub" / "compose.yaml"
    assert load(tmp_path, files=[file]).document["services"]["web"]["build"]["context"] == f"{tmp_path}/sub/here"
    given = load(tmp_path, files=[file], project_directory=tmp_path)
    assert given.document["services"]["web"]["build"]["context"] == f"{tmp_path}/here"


def test_selected_services_bring_their_dependencies_and_enable_their_profiles(tmp_path):
    text = """
services:
  a: {image: x, depends_on: [b], profiles: [p]}
  b: {image: x, networks: [n]}
  c: {image: x, volumes: ['v:/v']}
networks: {n: }
volumes: {v: }
"""
    everything, selected = load(tmp_path, text), load(tmp_path, text, services=["a"])
    assert set(everything.document["services"]) == {"b", "c"} and set(everything.disabled) == {"a"}
    assert set(selected.document["services"]) == {"a", "b"} and set(selected.disabled) == {"c"}
    assert "volumes" not in selected.document and everything.profiles == ("p",)


def test_what_a_file_warns_of_is_told_once(tmp_path):
    warnings = load(
        tmp_path, "version: '3'\nservices: {a: {image: 'x$X', user: '$X', deploy: {endpoint_mode: vip}}}\n"
    ).warnings
    assert warnings == [
        'The "X" variable is not set. Defaulting to a blank string.',
        f"{tmp_path}/compose.yaml: the attribute `version` is obsolete, it will be ignored,"
        " please remove it to avoid potential confusion",
        "services.a.deploy.endpoint_mode: it has an effect in a swarm only, and is ignored",
    ]
