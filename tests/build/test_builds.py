"""Builds over the API: messages, the cache, stages, RUN, failures."""

from __future__ import annotations

import base64
import http.client
import json
import os
import random
import socket
import tarfile
import time

import pytest

from tests.build.conftest import context
from tests.engine.conftest import Raw
from tests.installation import needs_host_namespaces, wait_until
from tests.registry.servers import PASSWORD, USER, registry

TWO_STAGES = """\
ARG V=latest
FROM busybox:$V AS first
ARG X=5
RUN echo made $X > /made
COPY f /d/
FROM first
LABEL x=y
COPY --from=first /d /e
"""


def left_over(place) -> list[str]:
    """Return the containers, and the folders of unfinished work, that a build has left."""
    wait_until(lambda: not list((place.state / "tmp").iterdir()))
    return [container["Id"] for container in place.docker.api.containers(all=True)]


def test_the_messages_are_those_of_the_classic_builder(build, place):
    found = build(TWO_STAGES, {"f": "1"}, t=["one/two:x", "three"], buildargs={"unused": "1"}, labels={"l": "m"})
    lines = [line for line in found.text.splitlines() if not line.startswith((" ---> Running", " ---> Removed"))]
    assert [line for line in lines if not line.startswith(" ---> ")] == [
        "Step 1/9 : ARG V=latest",
        "Step 2/9 : FROM busybox:$V AS first",
        "Step 3/9 : ARG X=5",
        "Step 4/9 : RUN echo made $X > /made",
        "Step 5/9 : COPY f /d/",
        "Step 6/9 : FROM first",
        "Step 7/9 : LABEL x=y",
        "Step 8/9 : COPY --from=first /d /e",
        "Step 9/9 : LABEL l=m",
        "[Warning] One or more build-args [unused] were not consumed",
        f"Successfully built {found.image[7:19]}",
        "Successfully tagged one/two:x",
        "Successfully tagged three:latest",
    ]
    assert {"stream": "\n"} in found.messages and {"aux": {"ID": found.image}} in found.messages
    image = place.docker.api.inspect_image("three")
    assert image["Id"] == found.image and image["Config"]["Labels"] == {"x": "y", "l": "m"}
    quiet = build(TWO_STAGES, {"f": "1"}, q="1", labels={"l": "m"})
    assert quiet.messages == [{"stream": f"{found.image}\n"}]


def test_unchanged_steps_are_cached_and_steps_after_a_change_are_not(build, output):
    text = "FROM busybox\nRUN echo a > /a\nCOPY f g /d/\nRUN cat /d/f > /b\nENV x=y\nCMD cat /b"
    files = {"f": "one", "g": ("g", 0o644)}
    first = build(text, files)
    again = build(text, files)
    assert first.cached == [False] * 6 and again.cached == [False] + [True] * 5
    assert again.image == first.image
    changed = build(text, {**files, "f": "two"})
    assert changed.cached == [False, True, False, False, False, False]
    assert output(changed.image) == "two" and output(first.image) == "one"
    assert build(text, {**files, "g": ("g", 0o755)}).cached[:3] == [False, True, False]
    assert build(text, files, nocache="1").cached == [False] * 6
    assert build(text, {**files, "other": "not copied"}).cached[1:] == [True] * 5


def test_times_of_files_do_not_count(build):
    text = "FROM busybox\nCOPY . /d/"
    assert build(text, {"sub/": "", "sub/f": "same"}).cached == [False, False]
    # conftest writes the same time: change it on the way.
    connection_body = context({"Dockerfile": text, "sub/": "", "sub/f": "same"})
    assert b"00000000000" in connection_body
    later = connection_body.replace(b"00000000000\0", b"14777777777\0")
    assert build(text, {"sub/": "", "sub/f": "same"}).cached == [False, True]
    assert later != connection_body


def test_the_cache_outlives_the_daemon_and_the_image(build, place):
    text = "FROM busybox\nRUN echo persistent > /p"
    image = build(text, t="gone").image
    place.docker.images.remove("gone")
    place.kill("runtime", 15)
    place.start("runtime")
    again = build(text)
    assert again.cached == [False, True] and again.image == image


def test_a_build_with_an_arg_is_cached_by_its_value(build, output):
    text = "FROM busybox\nARG who=nobody\nRUN echo $who > /who\nCMD cat /who"
    assert output(build(text).image) == "nobody\n"
    other = build(text, buildargs={"who": "me"})
    assert other.cached == [False, True, False, False] and output(other.image) == "me\n"
    proxied = build(text, buildargs={"HTTP_PROXY": "http://proxy"})
    assert proxied.cached == [False, True, True, True] and "not consumed" not in proxied.text


def test_arguments_have_scopes(build, output):
    text = """\
ARG base=busybox
ARG version=1
FROM $base AS a
ARG version
ARG own=${version}-own
ENV kept=$own
FROM a AS b
RUN echo "$own $version $kept" > /b
FROM busybox
RUN echo "[$own$version]" > /c
COPY --from=b /b /b
ARG TARGETARCH
CMD cat /b /c
"""
    assert output(build(text, buildargs={"version": "2"}).image) == "2-own 2 2-own\n[]\n"


def test_unused_stages_are_not_built_and_targets_can_be_chosen(build):
    text = "FROM busybox AS a\nRUN echo a\nFROM busybox AS broken\nRUN exit 1\nFROM a AS c\nRUN echo c\n"
    found = build(text)
    assert not found.error and "broken" not in found.text
    assert [step.split(" :")[0] for step in found.steps] == ["Step 1/4", "Step 2/4", "Step 3/4", "Step 4/4"]
    assert build(text, target="broken").error == "The command '/bin/sh -c exit 1' returned a non-zero code: 1"
    assert build(text, target="nope").error == 'target stage "nope" could not be found'
    assert len(build(text, target="0").steps) == 2


def test_independent_stages_are_built_side_by_side(build):
    wait = "for i in $(seq 100); do [ -e /c/%s ] && break; sleep 0.1; done; [ -e /c/%s ]"
    mount = "RUN --mount=type=cache,id=meet,target=/c"
    text = (
        f"FROM busybox AS a\n{mount} touch /c/a; {wait % ('b', 'b')} && echo printed last\n"
        f"FROM busybox AS b\n{mount} echo printed first; touch /c/b; {wait % ('a', 'a')}\n"
        "FROM busybox\nCOPY --from=a /bin/busybox /a\nCOPY --from=b /bin/busybox /b\n"
    )
    found = build(text)
    assert not found.error
    numbers = [int(step.removeprefix("Step ").split("/")[0]) for step in found.steps]
    assert numbers == sorted(numbers), "the output is in the order of the file"
    assert found.text.index("\nprinted last\n") < found.text.index("\nprinted first\n")


def test_a_failing_step_names_place_and_code_and_leaves_nothing(build, place):
    layers = set((place.state / "layers").iterdir())
    found = build("FROM busybox AS x\nENV a=b\n\nRUN echo before; \\\n  echo lost > /f; exit 3\n")
    command = "echo before;   echo lost > /f; exit 3"
    message = f"The command '/bin/sh -c {command}' returned a non-zero code: 3"
    assert found.messages[-1] == {"errorDetail": {"code": 3, "message": message}, "error": message}
    assert f"Dockerfile:4: step 3/3: RUN {' '.join(command.split())} failed\n" in found.text
    assert "before\n" in found.text
    assert left_over(place) == []
    assert set((place.state / "layers").iterdir()) == layers


def test_a_failing_stage_stops_the_others(build, place):
    text = "FROM busybox AS a\nRUN sleep 300\nFROM busybox AS b\nRUN sleep 0.2; exit 4\nFROM a\nCOPY --from=b /x /y\n"
    started = time.monotonic()
    found = build(text)
    assert "returned a non-zero code: 4" in found.error and time.monotonic() - started < 60
    assert left_over(place) == []


def test_a_build_ends_with_its_client(place):
    body = context({"Dockerfile": "FROM busybox\nRUN echo running; sleep 300\n"})
    connection = Raw(place.run / "docker.sock")
    connection.request("POST", "/build?version=1", body, {"Content-Type": "application/x-tar"})
    response = connection.getresponse()
    while b'"running' not in response.readline():
        pass
    assert len(place.docker.api.containers()) == 1
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    response.close()
    wait_until(lambda: not place.docker.api.containers(all=True))
    assert left_over(place) == []


def test_a_build_can_be_cancelled_by_its_id(place):
    body = context({"Dockerfile": "FROM busybox\nRUN echo running; sleep 300\n"})
    connection = Raw(place.run / "docker.sock")
    connection.request("POST", "/build?version=1&buildid=mine", body, {"Content-Type": "application/x-tar"})
    response = connection.getresponse()
    while b'"running' not in response.readline():
        pass
    assert Raw(place.run / "docker.sock").ask("POST", "/build/cancel?id=mine")[0] == 200
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        response.read()
        raise ConnectionError
    wait_until(lambda: not place.docker.api.containers(all=True))
    assert Raw(place.run / "docker.sock").ask("POST", "/build/cancel")[0] == 400


def test_containers_of_a_build_do_not_outlive_a_killed_daemon(place):
    body = context({"Dockerfile": "FROM busybox\nRUN echo running; sleep 300\n"})
    connection = Raw(place.run / "docker.sock")
    connection.request("POST", "/build?version=1", body, {"Content-Type": "application/x-tar"})
    response = connection.getresponse()
    while b'"running' not in response.readline():
        pass
    place.kill("runtime")
    place.start("runtime")
    assert left_over(place) == []


# RUN


def test_run_forms_and_here_documents(build, output):
    text = """\
FROM busybox
RUN ["/bin/busybox", "touch", "/exec form"]
RUN <<EOF
set -e
name=script
echo "$name" > /script
EOF
RUN <<EOF cat > /given
line $HOME
EOF
RUN cat > /quoted <<'EOF'
line $HOME
EOF
RUN <<EOF
#!/bin/busybox ash
echo shebang $0 > /shebang
EOF
SHELL ["/bin/busybox", "ash", "-ec"]
RUN echo shell > /shell
CMD ls /'exec form'; cat /script /given /quoted /shebang /shell
"""
    expected = "/exec form\nscript\nline /root\nline $HOME\nshebang /dev/fd/3\nshell\n"
    assert output(build(text).image) == expected


def test_run_has_the_user_workdir_and_environment(build, output):
    text = "FROM busybox\nENV A=1\nWORKDIR /w\nUSER user\nRUN echo $A $(pwd) $(id -u) > /tmp/x\nCMD cat /tmp/x"
    assert output(build(text).image) == "1 /w 1000\n"


def test_run_leaves_no_mount_points_in_the_image(build, place):
    image = build("FROM scratch\nCOPY --from=busybox /bin /bin\nRUN touch /mine").image
    names = place.docker.api.inspect_image(image)["RootFS"]["Layers"]
    assert len(names) == 2
    top = max((place.state / "layers").iterdir(), key=lambda path: path.stat().st_ctime)
    assert os.listdir(top) == ["mine"]


def test_a_run_without_changes_adds_no_layer(build, place):
    image = place.docker.api.inspect_image(build("FROM busybox\nRUN true\nENV a=b").image)
    assert len(image["RootFS"]["Layers"]) == 1


def test_mounts_of_run(build, output, place):
    text = """\
FROM busybox AS files
RUN mkdir -p /out/sub && echo from stage > /out/sub/f
FROM busybox
RUN --mount=type=cache,target=/cache,uid=1000,mode=0700 stat -c '%u %a' /cache > /owner && echo kept >> /cache/log
RUN --mount=type=cache,target=/cache cat /cache/log > /log
RUN --mount=type=bind,target=/context cat /context/f > /f && ! touch /context/x 2>/dev/null
RUN --mount=type=bind,source=sub,target=/context,rw touch /context/x && ls /context > /written
RUN --mount=from=files,source=/out/sub,target=/in cat /in/f > /stage
RUN --mount=type=tmpfs,target=/t,size=1m mount | grep ' /t ' > /tmpfs
RUN --mount=type=secret,id=s cat /run/secrets/s | tr a-z A-Z > /secret
RUN --mount=type=secret,id=s,env=TOKEN,target=/elsewhere/s echo "$TOKEN$(cat /elsewhere/s)" > /variable
RUN --mount=type=secret,id=missing test ! -e /run/secrets/missing
CMD cat /owner /log /f /written /stage /secret /variable; ls -d /context /in /t /run /elsewhere /cache; true
"""
    secrets = {"X-Netd-Build-Secrets": _encoded({"s": b"hunter"})}
    found = build(text, {"f": "file\n", "sub/": "", "sub/g": ""}, headers=secrets)
    assert not found.error
    lines = output(found.image).splitlines()
    assert lines == ["1000 700", "kept", "file", "g", "x", "from stage", "HUNTERhunterhunter"]
    assert "hunter" not in json.dumps(place.docker.api.history(found.image))
    assert not list((place.run / "build-secrets").iterdir())
    missing = build("FROM busybox\nRUN --mount=type=secret,id=no,required true")
    assert "secret no: not found" in missing.error


def _encoded(secrets: dict[str, bytes]) -> str:
    inner = {name: base64.b64encode(value).decode() for name, value in secrets.items()}
    return base64.urlsafe_b64encode(json.dumps(inner).encode()).decode()


def test_a_changed_file_of_a_bind_mount_runs_the_step_again(build):
    text = "FROM busybox\nRUN --mount=type=bind,source=f,target=/f cp /f /g\n"
    build(text, {"f": "1"})
    assert build(text, {"f": "1", "other": "x"}).cached == [False, True]
    assert build(text, {"f": "2"}).cached == [False, False]


@needs_host_namespaces
def test_networks_and_limits_of_run(build, place):
    place.docker.networks.create("build-net")
    show = "FROM busybox\nRUN ip -4 -o addr show eth0; cat /etc/hosts; df -k /dev/shm | tail -n 1\n"
    found = build(
        show, networkmode="build-net", extrahosts=["db:192.0.2.7"], shmsize=str(8 << 20), memory=str(64 << 20)
    )
    assert "172." in found.text and "192.0.2.7" in found.text and "8192" in found.text
    assert "eth0" not in build("FROM busybox\nRUN --network=none ip -o link\n").text.partition("ip -o link")[2]
    assert build("FROM busybox\nRUN echo no network", networkmode="nope").error.endswith("network nope not found")
    place.docker.networks.get("build-net").remove()


# Requests


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ({"version": "2"}, "DOCKER_BUILDKIT=0"),
        ({"remote": "https://example.com/x.git"}, "is not fetched"),
        ({"squash": "1"}, "--squash is not supported"),
        ({"isolation": "hyperv"}, "needs a Windows host"),
        ({"buildargs": "{"}, "buildargs"),
        ({"t": "UPPER"}, "must be lowercase"),
        ({"file": "nope"}, "Cannot locate specified Dockerfile: nope"),
        ({"file": "../../etc/passwd"}, "Cannot locate specified Dockerfile"),
        ({"memory": "1"}, "Minimum memory limit allowed is 6MB"),
    ],
)
def test_what_cannot_be_built_is_refused_with_the_reason(build, query, fault):
    found = build("FROM busybox\nRUN echo refused", **query)
    assert fault in found.error


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("FROM 127.0.0.1:1/nope:1\n", "127.0.0.1:1"),
        ("FROM --platform=windows/amd64 busybox\n", "need a Windows host"),
        ("FROM --platform=linux/riscv64 busybox\n", "does not match the specified platform"),
        ("FROM $none\n", "should not be blank"),
        ("FROM scratch\n", "No image was generated. Is your Dockerfile empty?"),
        ("FROM busybox\nEXPOSE 99999\n", "Invalid containerPort: 99999"),
        ("FROM busybox\nSTOPSIGNAL XX\n", "invalid signal: XX"),
        ("FROM busybox\nUSER ${x:?gone}\n", 'failed to process "${x:?gone}": x: gone'),
        ("FROM busybox\nCOPY --from=127.0.0.1:1/nope /a /b\n", "invalid from flag value 127.0.0.1:1/nope: "),
        ('FROM busybox\nRUN ["nope"]\n', 'exec: "nope": executable file not found'),
        ("FROM busybox\nRUN --mount=type=ssh true\n", "type=ssh is not supported"),
        ("FROM scratch\nRUN true\n", "no such file or directory"),
    ],
)
def test_a_step_that_cannot_be_done_fails_with_the_reason(build, text, fault):
    assert fault in build(text).error


def test_an_image_may_have_no_files(build, place):
    image = place.docker.api.inspect_image(build('FROM scratch\nCMD ["x"]\n').image)
    assert image["Config"]["Cmd"] == ["x"] and not image["RootFS"].get("Layers")


def test_metadata_instructions(build, place):
    text = """\
FROM busybox
MAINTAINER me
ENV a=1 b="two words"
LABEL l="x y" m=n
EXPOSE 80 8000-8001/udp
VOLUME ["/v"]
USER user
WORKDIR /a
WORKDIR b
SHELL ["/bin/sh", "-ec"]
ENTRYPOINT ["ep"]
CMD run it
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=10s --retries=2 CMD test -e /x
ONBUILD RUN echo child
"""
    image = place.docker.api.inspect_image(build(text).image)
    config = image["Config"]
    assert image["Author"] == "me"
    assert {"a=1", "b=two words"} <= set(config["Env"]) and config["Labels"] == {"l": "x y", "m": "n"}
    assert set(config["ExposedPorts"]) == {"80/tcp", "8000/udp", "8001/udp"}
    assert (config["User"], config["WorkingDir"], config["Entrypoint"]) == ("user", "/a/b", ["ep"])
    assert (config["Cmd"], config["StopSignal"]) == (["/bin/sh", "-ec", "run it"], "SIGQUIT")
    assert config["Healthcheck"] == {"Test": ["CMD-SHELL", "test -e /x"], "Interval": 10**10, "Retries": 2}
    assert config["OnBuild"] == ["RUN echo child"]


def test_triggers_of_the_base_are_carried_out_and_not_inherited(build, place):
    build("FROM busybox\nONBUILD COPY f /f\nONBUILD RUN cat /f\n", t="parent")
    found = build("FROM parent\nENTRYPOINT x\n", {"f": "from the child\n"})
    assert "# Executing 2 build triggers\n" in found.text and "from the child\n" in found.text
    assert not place.docker.api.inspect_image(found.image)["Config"].get("OnBuild")


def test_an_entrypoint_resets_the_command_of_the_base(build, place):
    build("FROM busybox\nCMD base\n", t="with-cmd")
    config = place.docker.api.inspect_image(build('FROM with-cmd\nENTRYPOINT ["x"]\n').image)["Config"]
    assert config.get("Cmd") is None


def test_images_of_cache_from_are_used(build, place):
    text = "FROM busybox\nRUN echo cached > /c\nENV a=b\nCOPY f /f\n"
    first = build(text, {"f": "x"}, t="source:1")
    raw = Raw(place.run / "docker.sock")
    status, _, report = raw.ask("POST", "/build/prune?all=1")
    assert status == 200 and report["CachesDeleted"], place.log("runtime")
    assert build(text, {"f": "x"}).cached == [False] * 4
    raw.ask("POST", "/build/prune?all=1")
    again = build(text, {"f": "x"}, cachefrom='["source:1", "unknown"]')
    assert again.cached == [False] + [True] * 3 and again.image == first.image


def test_pruned_layers_are_deleted(build, place):
    image = build("FROM busybox\nRUN echo to be pruned > /p\n").image
    raw = Raw(place.run / "docker.sock")
    place.docker.images.remove(image)
    before = len(list((place.state / "layers").iterdir()))
    status, _, report = raw.ask("POST", "/build/prune")
    assert status == 200 and report["SpaceReclaimed"] > 0, place.log("runtime")
    assert len(list((place.state / "layers").iterdir())) < before
    assert raw.ask("POST", "/build/prune?all=1")[0] == 200


# Base images of registries


def test_base_images_are_pulled_with_the_clients_credentials(build, place, tmp_path):
    with registry(tmp_path, 5007, within=place.within, password=True) as host:
        name = f"{host}/team/base"
        client = place.docker
        client.images.get("busybox").tag(name, "1")
        client.api.push(name, "1", auth_config={"username": USER, "password": PASSWORD})
        client.images.remove(f"{name}:1")
        text = f"FROM {name}:1\nCOPY --from={name}:1 /bin/busybox /b\nRUN ls /b\n"
        assert "no basic auth credentials" in build(text).error or "unauthorized" in build(text).error
        header = base64.urlsafe_b64encode(json.dumps({host: {"username": USER, "password": PASSWORD}}).encode())
        found = build(text, headers={"X-Registry-Config": header.decode()})
        assert not found.error and found.cached == [False] * 3
        assert any(message.get("status", "").startswith("Status: Downloaded") for message in found.messages)
        again = build(text, headers={"X-Registry-Config": header.decode()}, pull="1")
        assert not again.error and again.cached == [False, True, True]
        assert any("Image is up to date" in message.get("status", "") for message in again.messages)


# Hostile and broken requests


def test_a_client_that_leaves_while_it_sends_the_context_leaves_nothing(place):
    body = context({"Dockerfile": "FROM busybox\n", "f": "x" * 5_000_000})
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(place.run / "docker.sock"))
    head = f"POST /build?version=1 HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body[: len(body) // 2])
    wait_until(lambda: list((place.state / "tmp").glob("build-*")))
    connection.close()
    assert left_over(place) == []


@pytest.mark.parametrize(
    "body", [b"", b"no tar", b"\x1f\x8b\x08broken", context({"Dockerfile": "FROM busybox\n"})[:700], b"\0" * 2048]
)
def test_a_body_that_is_no_archive_is_refused(place, body):
    raw = Raw(place.run / "docker.sock")
    status, _, answer = raw.ask("POST", "/build?version=1", body, {"Content-Type": "application/x-tar"})
    assert status == 400 and answer["message"]
    assert left_over(place) == []


def test_a_dockerfile_that_is_a_link_or_a_device_is_not_read(place, build):
    for kind, target in ((tarfile.SYMTYPE, "/etc/passwd"), (tarfile.FIFOTYPE, ""), (tarfile.CHRTYPE, "")):
        info = tarfile.TarInfo()
        info.type, info.linkname, info.devmajor, info.devminor = kind, target, 1, 5
        assert "Cannot locate specified Dockerfile" in build("FROM busybox", {"evil": (info, 0o644)}, file="evil").error


def test_values_that_double_with_every_line_are_refused(build):
    lines = ["FROM busybox", "ENV a=0123456789abcdef", *["ENV a=$a$a"] * 20]
    assert "longer than" in build("\n".join(lines)).error


def test_builds_that_are_cancelled_at_any_moment_leave_nothing(place):
    """A cancellation between the end of a step and the removal of its container once left the layer."""
    moments = random.Random(5)
    for number in range(8):
        text = f"FROM busybox\nRUN echo {number} > /x\nCOPY f /f\nRUN echo again > /y\nRUN sleep 10\n"
        body = context({"Dockerfile": text, "f": os.urandom(1 << 20)})
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(place.run / "docker.sock"))
        head = f"POST /build?version=1&nocache=1 HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        time.sleep(moments.uniform(0, 0.4))
        connection.close()
    wait_until(lambda: not place.docker.api.containers(all=True))
    assert left_over(place) == []
    assert not list((place.run / "netns").iterdir())
