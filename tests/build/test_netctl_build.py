"""``netctl build`` and ``netctl builder prune``."""

from __future__ import annotations

import subprocess
import sys
import tarfile

import pytest

from netd.cli.errors import Fault
from netd.cli.files.context_archive import ContextArchive
from tests.build.conftest import context


@pytest.fixture
def folder(tmp_path):
    """A build context with an ignore file."""
    (tmp_path / "Dockerfile").write_text("FROM busybox\nCOPY . /c/\nRUN ls -a /c > /list\nCMD cat /list\n")
    (tmp_path / ".dockerignore").write_text("*.log\nbig\n!big/keep\n")
    (tmp_path / "a").write_text("a")
    (tmp_path / "x.log").write_text("log")
    (tmp_path / "big").mkdir()
    for name in ("keep", "drop"):
        (tmp_path / "big" / name).write_text(name)
    return tmp_path


def names(made: ContextArchive, path) -> list[str]:
    path.write_bytes(b"".join(made.chunks()))
    with tarfile.open(path) as tar:
        return sorted(tar.getnames())


def test_the_archive_lacks_what_the_ignore_file_excludes(folder, tmp_path_factory):
    target = tmp_path_factory.mktemp("tar") / "t"
    assert names(ContextArchive(str(folder), ""), target) == [".dockerignore", "Dockerfile", "a", "big/keep"]
    (folder / "Dockerfile.dockerignore").write_text("*\n")
    assert names(ContextArchive(str(folder), ""), target) == [".dockerignore", "Dockerfile", "Dockerfile.dockerignore"]


def test_a_dockerfile_from_elsewhere_is_sent_under_a_name_that_is_ignored(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("elsewhere") / "Other"
    other.write_text("FROM busybox\n")
    made = ContextArchive(str(folder), str(other))
    found = names(made, tmp_path_factory.mktemp("tar") / "t")
    assert made.dockerfile in found and found.count(".dockerignore") == 1


@pytest.mark.parametrize(("where", "file"), [("nowhere", ""), (".", "none"), (".", "/none")])
def test_a_missing_folder_or_dockerfile_is_named(where, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Fault, match="unable to prepare context"):
        ContextArchive(where, file)


def test_a_build_from_a_folder(place, folder, tmp_path_factory):
    identifier = tmp_path_factory.mktemp("id") / "id"
    words = ["build", "-t", "by-netctl:1", "-t", "also", "--label", "l=m", "--iidfile", str(identifier), str(folder)]
    done = place.netctl(*words)
    assert "Step 1/5 : FROM busybox" in done.stdout and "Successfully tagged by-netctl:1" in done.stdout
    image = place.docker.api.inspect_image("also")
    assert image["Id"] == identifier.read_text() and image["Config"]["Labels"] == {"l": "m"}
    client = place.docker
    listed = client.containers.run("also", remove=True, network_mode="none").decode().split()
    assert "a" in listed and "big" in listed and "x.log" not in listed
    assert place.netctl(*words[:-1], "-q", str(folder)).stdout == f"{image['Id']}\n"


def test_builds_from_standard_input(place, folder):
    done = place.netctl("build", "-q", "-", input="FROM busybox\nRUN echo text\n")
    assert done.stdout.startswith("sha256:")
    outside = place.netctl("build", "-f", "-", str(folder), input="FROM busybox\nCOPY . /c\nRUN ls -a /c\n")
    assert ".dockerfile." not in outside.stdout.partition("RUN ls")[2]
    command = [sys.executable, "-m", "netd.cli.main", "build", "-q", "-"]
    body = context({"Dockerfile": "FROM busybox\nCOPY f /f\n", "f": "x"})
    env = {"NETD_RUN_DIR": str(place.run), "PATH": "/usr/bin:/bin"}
    assert subprocess.run(command, input=body, capture_output=True, env=env, timeout=60).stdout.startswith(b"sha256:")


def test_secrets_and_arguments(place, folder, monkeypatch):
    (folder / "token").write_text("hunter")
    (folder / "Dockerfile").write_text(
        "FROM busybox\nARG who\nRUN --mount=type=secret,id=t --mount=type=secret,id=e,env=E"
        " test $(cat /run/secrets/t)$E = hunterfox && echo hello $who\n"
    )
    monkeypatch.setenv("who", "world")
    monkeypatch.setenv("ANIMAL", "fox")
    flags = ["--secret", f"id=t,src={folder}/token", "--secret", "id=e,env=ANIMAL", "--build-arg", "who"]
    assert "hello world" in place.netctl("build", *flags, str(folder)).stdout
    wrong = place.netctl("build", "--secret", "token", str(folder), check=False)
    assert wrong.returncode == 125 and "id=NAME,src=FILE" in wrong.stderr


def test_a_failed_step_gives_its_exit_code_and_place(place, folder):
    (folder / "Dockerfile").write_text("FROM busybox\nRUN exit 7\n")
    done = place.netctl("build", str(folder), check=False)
    assert done.returncode == 7
    assert "Dockerfile:2: step 2/2: RUN exit 7 failed" in done.stdout
    assert "The command '/bin/sh -c exit 7' returned a non-zero code: 7" in done.stderr


def test_the_build_cache_is_pruned(place, folder):
    (folder / "Dockerfile").write_text("FROM busybox\nRUN echo pruned by netctl > /x\n")
    place.netctl("build", str(folder))
    done = place.netctl("builder", "prune", "--all", "--force")
    assert "Total reclaimed space: " in done.stdout
    assert "Using cache" not in place.netctl("build", str(folder)).stdout
