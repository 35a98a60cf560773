"""``netctl compose config`` prints what Docker's compose prints, and that loads as the same project."""

from __future__ import annotations

import json

import pytest

from netd.cli.main import main
from netd.compose.config_hash import service_hash
from netd.compose.load import load_project
from netd.compose.model import decode_project
from tests.compose import recorder
from tests.compose.test_corpus import load_corpus


@pytest.fixture
def config(tmp_path, monkeypatch, capsys):
    """Return a function that runs ``compose config`` in a copied project and returns exit code and output."""

    def run(name: str, *words: str) -> tuple[int, str]:
        folder = tmp_path / name
        monkeypatch.chdir(folder if folder.exists() else recorder.copied(name, tmp_path))
        for variable, value in recorder.environment(name).items():
            monkeypatch.setenv(variable, value)
        given = recorder.flags(name)
        files = [word for file in given.get("files", ()) for word in ("-f", file)]
        profiles = [word for profile in given.get("profiles", ()) for word in ("--profile", profile)]
        code = main(["compose", *files, *profiles, "config", *words])
        return code, capsys.readouterr().out

    return run


WITH_ENV_FILES = {"grafana"}
"""For these, Docker's ``config --hash`` differs from the hash that its ``up`` stores, which ours equals."""


@pytest.mark.parametrize("name", recorder.names())
def test_the_hashes_of_services_equal_those_of_docker(name, tmp_path, monkeypatch):
    loaded = load_corpus(name, recorder.copied(name, tmp_path), monkeypatch)
    services = decode_project(loaded.document).services
    recorded = recorder.golden(name)["hashes"]
    compared = recorded.keys() - WITH_ENV_FILES
    assert {key: service_hash(services[key]) for key in compared} == {key: recorded[key] for key in compared}


@pytest.mark.parametrize("name", recorder.names())
def test_the_printed_file_loads_as_the_same_project(config, name, tmp_path, monkeypatch):
    code, printed = config(name)
    again = tmp_path / "again.yaml"
    again.write_text(printed)
    folder = tmp_path / name
    given = {"project_name": None, "project_directory": folder, "env_files": (), "profiles": ("*",)}
    loaded = load_project([again], environment=recorder.environment(name), **given)
    assert code == 0
    assert loaded.document == load_corpus(name, folder, monkeypatch).document


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["--services"], ["adminer", "db", "mailhog", "web"]),
        (["--images"], ["adminer", "postgres", "mailhog/mailhog", "nginx"]),
        (["--volumes"], ["adminer", "db"]),
        (["--networks"], ["default"]),
        (["--profiles"], ["debug", "dev", "test"]),
        (["-q"], []),
    ],
)
def test_config_prints_lists(config, words, lines):
    assert config("profiles", *words) == (0, "".join(f"{line}\n" for line in lines))


def test_config_prints_what_docker_prints_as_json(config, tmp_path):
    code, printed = config("health-chain", "--format", "json")
    assert code == 0
    assert (
        json.loads(recorder.with_placeholder(printed, tmp_path / "health-chain"))
        == (recorder.golden("health-chain")["document"])
    )


@pytest.mark.parametrize("words", recorder.CONFIG_FLAGS)
@pytest.mark.parametrize("name", recorder.CONFIG_PROJECTS)
def test_flags_of_config_leave_out_steps_as_in_docker(config, name, words, tmp_path):
    code, printed = config(name, *words.split())
    wanted = json.loads((recorder.HERE / "recorded" / "config_flags.json").read_text())[name][words]
    assert (code, recorder.with_placeholder(printed, tmp_path / name)) == (0, wanted)


def test_the_variables_of_the_files_are_listed_with_those_in_defaults(config, tmp_path):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "compose.yaml").write_text(
        "services: {a: {image: '${A:-${B-x}}$$C', command: ['${D?needed}', '${E:+other}', '$D${A:-late}', '${']}}\n"
    )
    code, printed = config("profiles", "--variables")
    assert code == 0
    assert [line.split() for line in printed.splitlines()[1:]] == [
        ["A", "false", "late"], ["B", "false", "x"], ["D", "true"], ["E", "false", "other"],
    ]  # fmt: skip


def test_references_stay_without_interpolation(config):
    _, printed = config("wordpress", "--no-interpolate")
    assert "MARIADB_ROOT_PASSWORD: ${DB_ROOT_PASSWORD:-change-me}" in printed
    assert "- ${WEB_PORT:-8080}:80" in printed


def test_the_variables_of_references_are_printed(config):
    _, printed = config("elk", "--environment")
    assert "ELK_VERSION=8.15.0\n" in printed


def test_config_writes_to_a_file(config, tmp_path):
    assert config("profiles", "-o", str(tmp_path / "out.yaml"), "--services") == (0, "")
    assert (tmp_path / "out.yaml").read_text().splitlines()[0] == "adminer"


def test_config_shows_what_cannot_be_honoured_as_a_warning(config, tmp_path, capsys):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "compose.yaml").write_text("services: {a: {image: x, gpus: all}}\n")
    code, printed = config("profiles")
    assert code == 0 and "gpus" in printed
