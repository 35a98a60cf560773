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
