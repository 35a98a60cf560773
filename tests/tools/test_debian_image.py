"""tools/debian-image with a repository created by the test, without access to a mirror."""

import os
import subprocess
import tarfile

import pytest

BUSYBOX = "/bin/busybox"
CONTROL = """Package: {name}
Version: 1.0
Architecture: all
Maintainer: nobody <nobody@example.com>
Description: made for a test
{more}"""


@pytest.fixture
def mirror(tmp_path):
    """Make a repository with the base packages, ``hello`` and what it needs; returns the environment for apt."""
    debs = tmp_path / "mirror"
    debs.mkdir()
    packages = {name: {} for name in ("coreutils", "grep", "sed", "base-files")}
    packages["base-passwd"] = {
        "usr/share/base-passwd/passwd.master": "root:*:0:0:root:/root:/bin/sh\n",
        "usr/share/base-passwd/group.master": "root:*:0:\n",
        "etc/keep": "",
    }
    packages["libc-bin"] = {"usr/share/libc-bin/nsswitch.conf": "hosts: files dns\n"}
    packages["dash"] = {"bin/sh": BUSYBOX}
    packages["hello"] = {"bin/hello": "#!/bin/sh\n", "usr/share/doc/hello/README": "read me\n", "opt/a/big": "x"}
    packages["greeting"] = {"usr/bin/greeting": "#!/bin/sh\n"}
    packages["perl-base"] = {"usr/bin/perl": "#!/bin/sh\n"}
    index = [package(debs, name, files) for name, files in packages.items()]
    (debs / "Packages").write_text("\n".join(index))
    return apt(tmp_path, debs)


def package(debs, name, files):
    """Build one package and return its entry in the index."""
    tree = debs / f"{name}.d"
    for path, content in files.items():
        target = tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if content == BUSYBOX:
            subprocess.run(["cp", BUSYBOX, target], check=True)
        else:
            target.write_text(content)
    more = "Depends: greeting, perl-base\n" if name == "hello" else ""
    control = CONTROL.format(name=name, more=more)
    (tree / "DEBIAN").mkdir(parents=True, exist_ok=True)
    (tree / "DEBIAN/control").write_text(control)
    deb = debs / f"{name}_1.0_all.deb"
    subprocess.run(["dpkg-deb", "--build", "-Znone", "--root-owner-group", tree, deb], check=True, capture_output=True)
    digest = subprocess.run(["sha256sum", deb], check=True, capture_output=True, text=True).stdout.split()[0]
    return f"{control}Filename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n"


def apt(tmp_path, debs):
    for name in ("lists/partial", "etc/apt.conf.d", "etc/preferences.d", "etc/sources.list.d", "etc/trusted.gpg.d"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] copy:{debs} ./\n")
    settings = tmp_path / "apt.conf"
    settings.write_text(
        f'Dir::Etc "{tmp_path}/etc";\nDir::Etc::sourcelist "{tmp_path}/sources.list";\n'
        f'Dir::State::Lists "{tmp_path}/lists";\nAPT::Sandbox::User "root";\n'
    )
    return {**os.environ, "APT_CONFIG": str(settings)}


def contents(directory):
    (tar,) = directory.glob("*.tar")
    with tarfile.open(tar) as archive:
        return {member.name.removeprefix("./"): member for member in archive}


def test_packages_come_with_their_dependencies_on_a_merged_usr(tool, mirror, tmp_path):
    done = tool("debian-image", "--fetch", "--cache", tmp_path / "cache", "greet", "hello", env=mirror)
    assert done.returncode == 0, done.stderr
    files = contents(tmp_path / "cache")
    assert files["bin"].linkname == "usr/bin" and "usr/bin/hello" in files and "usr/bin/sh" in files
    assert "usr/bin/greeting" in files and "usr/bin/perl" in files
    assert "etc/passwd" in files and "etc/nsswitch.conf" in files
    assert "usr/share/doc/hello/README" not in files
    assert {member.uid for member in files.values()} == {0}


def test_packages_and_files_are_left_out_and_commands_run_in_the_root(tool, mirror, tmp_path):
    words = ["--without", "perl*", "--drop", "/opt/*", "--run", "echo made >/etc/made"]
    done = tool("debian-image", "--fetch", "--cache", tmp_path / "cache", "greet", "hello", *words, env=mirror)
    assert done.returncode == 0, done.stderr
    files = contents(tmp_path / "cache")
    assert "usr/bin/perl" not in files and "opt/a/big" not in files
    assert files["etc/made"].size == len("made\n")


def test_the_same_words_build_once_and_others_build_again(tool, mirror, tmp_path):
    cache = tmp_path / "cache"
    words = ["debian-image", "--fetch", "--cache", cache, "greet"]
    assert "downloading" in tool(*words, "hello", env=mirror).stderr
    assert tool(*words, "hello", env=mirror).stderr == ""
    assert "downloading" in tool(*words, "hello", "--rebuild", env=mirror).stderr
    assert "downloading" in tool(*words, "greeting", env=mirror).stderr
    assert len(list(cache.glob("*.tar"))) == 2 and not list(cache.glob("building-*"))


def test_an_unknown_package_is_named_and_leaves_nothing(tool, mirror, tmp_path):
    done = tool("debian-image", "--fetch", "--cache", tmp_path / "cache", "greet", "no-such-package", env=mirror)
    assert done.returncode and "no-such-package" in done.stderr
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_failing_command_fails_the_build(tool, mirror, tmp_path):
    words = ["--run", "exit 3"]
    done = tool("debian-image", "--fetch", "--cache", tmp_path / "cache", "greet", "hello", *words, env=mirror)
    assert done.returncode and list((tmp_path / "cache").iterdir()) == []
