"""Links between containers on the default network, and what a create request may refer to."""

from __future__ import annotations

import pytest

from tests.installation import IMAGE, wait_until
from tests.raw_client import RawClient


@pytest.fixture
def call(place, api):
    return RawClient(place.run / "docker.sock").call


@pytest.fixture
def db(run):
    return run(
        name="db",
        host={"NetworkMode": "bridge"},
        Env=["PW=secret", "PATH=/bin"],
        ExposedPorts={"5432/tcp": {}, "53/udp": {}, "80/tcp": {}},
    )


def refused(call, **host) -> tuple[int, str]:
    status, body = call("POST", "/containers/create", {"Image": IMAGE, "Cmd": ["true"], "HostConfig": host})
    return status, body.get("message", "")


def inside(api, container, command) -> str:
    return api.exec_start(api.exec_create(container, ["sh", "-c", command])["Id"]).decode()


def test_a_link_is_a_container_that_follows_renames(api, call, db, run):
    app = run(name="app", host={"NetworkMode": "bridge", "Links": ["db:mysql", "db"]})
    before = inside(api, app, "ping -c 1 -W 2 mysql | head -1")
    address = api.inspect_container(db)["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    assert f"({address})" in before
    api.rename(db, "db2")
    assert f"({address})" in inside(api, app, "ping -c 1 -W 2 mysql | head -1")
    assert api.inspect_container(app)["HostConfig"]["Links"] == ["/db2:/app/mysql", "/db2:/app/db"]
    assert call("GET", "/containers/app/mysql/json")[1]["Id"] == db
    names = next(row["Names"] for row in api.containers() if row["Id"] == db)
    assert sorted(names) == ["/app/db", "/app/mysql", "/db2"]
    api.rename(app, "web")
    assert api.inspect_container(app)["HostConfig"]["Links"] == ["/db2:/web/mysql", "/db2:/web/db"]
    assert call("GET", "/containers/app/mysql/json")[0] == 404


def test_links_give_the_variables_of_docker(api, db, run):
    app = run(name="app", host={"NetworkMode": "bridge", "Links": ["db:my-x"]}, Env=["MY_X_NAME=own"])
    ip = api.inspect_container(db)["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    shown = inside(api, app, "env | grep MY_X | sort").split()
    assert shown == sorted(
        [
            f"MY_X_PORT=tcp://{ip}:80",
            *(
                line
                for port, kind in ((80, "tcp"), (5432, "tcp"), (53, "udp"))
                for base in (f"MY_X_PORT_{port}_{kind.upper()}",)
                for line in (
                    f"{base}={kind}://{ip}:{port}",
                    f"{base}_ADDR={ip}",
                    f"{base}_PORT={port}",
                    f"{base}_PROTO={kind}",
                )
            ),
            "MY_X_NAME=own",
            "MY_X_ENV_PW=secret",
        ]
    )


def test_links_to_nothing_are_refused_and_a_stopped_target_fails_the_start(api, call, db, make):
    assert refused(call, Links=["nosuch:x"]) == (400, "could not get container for nosuch: No such container: nosuch")
    assert refused(call, Links=["a:b:c"]) == (400, "bad format for links: a:b:c")
    assert refused(call, Links=[""]) == (400, "empty string specified for links")
    assert refused(call, Links=["db:a b"])[0] == 400
    app = make(name="app", host={"NetworkMode": "bridge", "Links": ["db:x"]})
    api.stop(db, timeout=0)
    answer = call("POST", f"/containers/{app}/start")
    assert answer == (500, {"message": "Cannot link to a non running container: /db AS /app/x"})
    api.start(db)
    assert call("POST", f"/containers/{app}/start")[0] == 204


def test_a_link_alone_is_removed(api, call, db, run):
    app = run(name="app", host={"NetworkMode": "bridge", "Links": ["db:x", "db:y"]})
    assert call("DELETE", "/containers/app/x?link=1") == (204, None)
    assert api.inspect_container(app)["HostConfig"]["Links"] == ["/db:/app/y"]
    assert call("DELETE", "/containers/app/x?link=1") == (404, {"message": "No such container: app/x"})
    assert call("DELETE", "/containers/app?link=1")[0] == 409
    assert len(api.containers()) == 2


@pytest.mark.parametrize(
    "host",
    [
        {"PidMode": "container:nosuch"},
        {"IpcMode": "container:nosuch"},
        {"NetworkMode": "container:nosuch"},
        {"VolumesFrom": ["nosuch"]},
        {"VolumesFrom": ["nosuch:ro"]},
    ],
)
def test_create_answers_404_for_a_missing_image_alone(call, host):
    """Clients pull the image after a 404."""
    assert refused(call, **host) == (400, "No such container: nosuch")


def test_the_format_of_an_execs_stream_is_that_of_its_start(api, raw, run):
    made = run()
    for tty in (False, True):
        created = api.exec_create(made, ["echo", "hi"], tty=not tty)["Id"]
        _status, _headers, body = raw.ask("POST", f"/exec/{created}/start", {"Tty": tty})
        assert body.startswith(b"hi") == tty, body


def test_an_exec_that_was_not_started_ends_with_its_process(api, call, run):
    made = run()
    created = api.exec_create(made, ["true"])["Id"]
    api.kill(made)
    missing = (404, {"message": f"No such exec instance: {created}"})
    assert call("POST", f"/exec/{created}/start", {"Detach": True}) == missing
    api.start(made)
    assert call("POST", f"/exec/{created}/start", {"Detach": True}) == missing
    assert call("GET", f"/exec/{created}/json") == missing


def test_an_exec_without_streams_sends_nothing_and_runs_on(api, raw, run):
    made = run()
    created = raw.ask("POST", f"/v1.47/containers/{made}/exec", {"Cmd": ["sleep", "1000"]})[2]["Id"]
    status, _, body = raw.ask("POST", f"/v1.47/exec/{created}/start", {})
    shown = api.exec_inspect(created)
    assert (status, body) == (200, b"") and shown["Running"] and "user" not in shown["ProcessConfig"]
    failed = api.exec_create(made, ["nosuch"])["Id"]
    assert b"executable file not found" in api.exec_start(failed)
    assert api.exec_inspect(failed)["Pid"] == 0 and api.exec_inspect(failed)["ExitCode"] == 127


def test_pausing_a_container_that_ends_is_refused_as_for_a_stopped_one(call, make):
    for _ in range(8):
        made = make("sleep", "0.02")
        assert call("POST", f"/containers/{made}/start")[0] == 204
        codes = []
        wait_until(lambda made=made, codes=codes: _pause(call, made, codes) == 409)
        assert set(codes) <= {204, 409}, codes


def _pause(call, container, codes):
    status, _ = call("POST", f"/containers/{container}/pause")
    codes.append(status)
    if status == 204:
        call("POST", f"/containers/{container}/unpause")
    return status
