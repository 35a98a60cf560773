"""Options of ``Config``, each alone: valid values, bounds and wrong values."""

from __future__ import annotations

from typing import Any

from tests.differential.recorder import Recorder

_OPTIONS: dict[str, dict[str, Any]] = {
    "Hostname": {"Hostname": "box"},
    "Hostname with a domain": {"Hostname": "box.example.com"},
    "Hostname of 63 characters": {"Hostname": "a" * 63},
    "Hostname of 64 characters": {"Hostname": "a" * 64},
    "Hostname of 65 characters": {"Hostname": "a" * 65},
    "Hostname with an underscore": {"Hostname": "a_b"},
    "Hostname with a blank": {"Hostname": "a b"},
    "Hostname with a leading hyphen": {"Hostname": "-a"},
    "Domainname": {"Domainname": "example.com"},
    "Domainname with Hostname": {"Hostname": "box", "Domainname": "example.com"},
    "User": {"User": "user"},
    "User by number": {"User": "1000:1000"},
    "User that does not exist": {"User": "nosuch"},
    "User with a number too large": {"User": "4294967296"},
    "AttachStdin": {"AttachStdin": True},
    "AttachStdout and AttachStderr": {"AttachStdout": True, "AttachStderr": True},
    "Tty": {"Tty": True},
    "OpenStdin": {"OpenStdin": True},
    "StdinOnce": {"OpenStdin": True, "StdinOnce": True},
    "ExposedPorts": {"ExposedPorts": {"80/tcp": {}}},
    "ExposedPorts without protocol": {"ExposedPorts": {"80": {}}},
    "ExposedPorts udp and sctp": {"ExposedPorts": {"53/udp": {}, "9899/sctp": {}}},
    "ExposedPorts a range": {"ExposedPorts": {"8000-8002/tcp": {}}},
    "ExposedPorts 0": {"ExposedPorts": {"0/tcp": {}}},
    "ExposedPorts 65536": {"ExposedPorts": {"65536/tcp": {}}},
    "ExposedPorts unknown protocol": {"ExposedPorts": {"80/icmp": {}}},
    "ExposedPorts not a number": {"ExposedPorts": {"http/tcp": {}}},
    "ExposedPorts upper case": {"ExposedPorts": {"80/TCP": {}}},
    "Env": {"Env": ["A=b", "C=d=e"]},
    "Env twice": {"Env": ["A=b", "A=c"]},
    "Env without a value": {"Env": ["A="]},
    "Env name alone": {"Env": ["A"]},
    "Env empty": {"Env": [""]},
    "Env without a name": {"Env": ["=a"]},
    "Cmd empty": {"Cmd": []},
    "Cmd a string": {"Cmd": "true"},
    "Cmd null": {"Cmd": None},
    "Cmd with an empty word": {"Cmd": [""]},
    "Entrypoint": {"Entrypoint": ["/bin/sh", "-c"]},
    "Entrypoint a string": {"Entrypoint": "/bin/true"},
    "Entrypoint empty word": {"Entrypoint": [""]},
    "Healthcheck": {"Healthcheck": {"Test": ["CMD", "true"], "Interval": 10**9, "Timeout": 10**9, "Retries": 3}},
    "Healthcheck NONE": {"Healthcheck": {"Test": ["NONE"]}},
    "Healthcheck CMD-SHELL": {"Healthcheck": {"Test": ["CMD-SHELL", "exit 0"]}},
    "Healthcheck empty": {"Healthcheck": {}},
    "Healthcheck empty Test": {"Healthcheck": {"Test": []}},
    "Healthcheck unknown kind": {"Healthcheck": {"Test": ["SHELL", "true"]}},
    "Healthcheck Interval too short": {"Healthcheck": {"Test": ["CMD", "true"], "Interval": 999999}},
    "Healthcheck Interval 1ms": {"Healthcheck": {"Test": ["CMD", "true"], "Interval": 1000000}},
    "Healthcheck Timeout too short": {"Healthcheck": {"Test": ["CMD", "true"], "Timeout": 1}},
    "Healthcheck StartPeriod too short": {"Healthcheck": {"Test": ["CMD", "true"], "StartPeriod": 1}},
    "Healthcheck StartInterval too short": {"Healthcheck": {"Test": ["CMD", "true"], "StartInterval": 1}},
    "Healthcheck negative Retries": {"Healthcheck": {"Test": ["CMD", "true"], "Retries": -1}},
    "Healthcheck negative Interval": {"Healthcheck": {"Test": ["CMD", "true"], "Interval": -1}},
    "Image that does not exist": {"Image": "nosuch:latest"},
    "Image empty": {"Image": ""},
    "Image invalid": {"Image": "UPPER"},
    "Image with a digest that is not there": {"Image": "differential-busybox@sha256:" + "0" * 64},
    "Volumes": {"Volumes": {"/data": {}}},
    "Volumes relative": {"Volumes": {"data": {}}},
    "Volumes root": {"Volumes": {"/": {}}},
    "WorkingDir": {"WorkingDir": "/tmp"},
    "WorkingDir with dots": {"WorkingDir": "/tmp/../var/"},
    "WorkingDir relative": {"WorkingDir": "tmp"},
    "NetworkDisabled": {"NetworkDisabled": True},
    "MacAddress": {"MacAddress": "02:42:ac:11:00:99"},
    "MacAddress invalid": {"MacAddress": "02:42"},
    "OnBuild": {"OnBuild": ["RUN true"]},
    "Labels": {"Labels": {"a": "b", "": "c", "d": ""}},
    "StopSignal": {"StopSignal": "SIGINT"},
    "StopSignal by number": {"StopSignal": "9"},
    "StopSignal without SIG": {"StopSignal": "int"},
    "StopSignal RTMIN+3": {"StopSignal": "RTMIN+3"},
    "StopSignal unknown": {"StopSignal": "SIGNONE"},
    "StopSignal 65": {"StopSignal": "65"},
    "StopTimeout": {"StopTimeout": 10},
    "StopTimeout 0": {"StopTimeout": 0},
    "StopTimeout -1": {"StopTimeout": -1},
    "StopTimeout -2": {"StopTimeout": -2},
    "Shell": {"Shell": ["/bin/sh", "-c"]},
    "an unknown field": {"NoSuchField": 1},
    "a field in lower case": {"hostname": "lower"},
}
_NAMES = {
    "name of one letter": "a",
    "name with a leading hyphen": "-dx",
    "name with a slash": "/dx-slash",
    "name with two slashes": "dx/a",
    "name with a blank": "dx a",
    "name with a colon": "dx:a",
    "name with an underscore and a dot": "dx-a_b.c",
    "name with an accent": "dx-é",
}


def config(recorder: Recorder) -> None:
    for name, options in _OPTIONS.items():
        recorder.option(name, **options)
    for name, value in _NAMES.items():
        answer = recorder.call(
            name,
            "POST",
            "/containers/create",
            {"Image": "differential-busybox", "Cmd": ["true"]},
            query={"name": value},
        )
        if answer.status == 201:
            recorder.send("DELETE", f"/containers/{answer.body['Id']}")
    for platform in ("linux", "linux/amd64", "linux/arm64", "windows", "nosuch", "linux/amd64/v1/x"):
        answer = recorder.call(
            f"platform {platform}",
            "POST",
            "/containers/create",
            {"Image": "differential-busybox", "Cmd": ["true"]},
            query={"name": "dx-platform", "platform": platform},
        )
        recorder.remove("platform")
