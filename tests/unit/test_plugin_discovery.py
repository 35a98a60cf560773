"""Discovery of plugins: directories, file names, and the content of spec files."""

import socket

import pytest

from netd.common.errors import Problem
from netd.remote.plugin_discovery import PluginAddress, find


def listening(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    return path


@pytest.mark.parametrize("name", ["far.sock", "far/far.sock"])
def test_a_socket_of_that_name(tmp_path, name):
    path = listening(tmp_path / name)
    assert find("far", [tmp_path]) == PluginAddress(socket=str(path))


def test_a_socket_takes_precedence_over_spec_files(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    (first / "far.spec").write_text("tcp://127.0.0.1:1\n")
    path = listening(second / "far.sock")
    assert find("far", [first, second]) == PluginAddress(socket=str(path))
    path.unlink()
    assert find("far", [first, second]) == PluginAddress(tcp="127.0.0.1:1")


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("far.spec", "unix:///run/far.sock", PluginAddress(socket="/run/far.sock")),
        ("far/far.spec", "tcp://127.0.0.1:8080\n", PluginAddress(tcp="127.0.0.1:8080")),
        ("far.json", '{"Name":"far","Addr":"unix:///run/far.sock"}', PluginAddress(socket="/run/far.sock")),
        ("far/far.json", '{"Addr":"tcp://[::1]:1","TLSConfig":null}', PluginAddress(tcp="[::1]:1")),
    ],
)
def test_files_that_name_an_address(tmp_path, name, text, place):
    (tmp_path / "far").mkdir()
    (tmp_path / name).write_text(text)
    assert find("far", [tmp_path / "absent", tmp_path]) == place


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("far.spec", ""),
        ("far.spec", "ftp://somewhere"),
        ("far.spec", "unix://"),
        ("far.json", "{"),
        ("far.json", '{"Addr":5}'),
        ("far.json", '{"Addr":"tcp://h:1","TLSConfig":{"CAFile":"/ca"}}'),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(Problem, match=f"{tmp_path}/{name}"):
        find("far", [tmp_path])


@pytest.mark.parametrize("name", ["", ".", "..", "../far", "a/b", "/etc/passwd", "far\n"])
def test_an_invalid_plugin_name_is_not_found(tmp_path, name):
    listening(tmp_path / "far.sock")
    assert find(name, [tmp_path / "x"]) is None
