"""The verbs of compose against running daemons."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.installation import running_installation, wait_until


@pytest.fixture(scope="module")
def host():
    with running_installation() as made:
        yield made


class Project:
    """A folder with a compose file, and the verbs for it."""

    def __init__(self, host, folder):
        self.host, self.folder, self.name = host, folder, folder.name

    def write(self, services, **sections):
        """Write the compose file; an image is added to services without one."""
        for service in services.values():
            if "build" not in service:
                service.setdefault("image", "busybox")
            service.setdefault("stop_grace_period", "0s")
        (self.folder / "compose.yaml").write_text(json.dumps({"services": services, **sections}))

    def __call__(self, *words, code=0):
        done = self.host.netctl("compose", *words, cwd=self.folder, check=False)
        assert done.returncode == code, f"compose {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def containers(self, *words):
        """Return the containers of the project by name, as ``ps --format json`` shows them."""
        lines = self("ps", "-a", "--format", "json", *words).stdout.splitlines()
        return {found["Name"]: found for found in map(json.loads, lines)}

    def begin(self, *words):
        return subprocess.Popen(
            [sys.executable, "-m", "netd.cli.main", "compose", *words],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "NETD_RUN_DIR": str(self.host.run), "PYTHONPATH": os.getcwd()},
        )


@pytest.fixture
def project(host, tmp_path, request):
    """Return a project; what it leaves is removed with the host."""
    folder = tmp_path / f"p{abs(hash(request.node.name)) % 10**8}"
    folder.mkdir()
    return Project(host, folder)


SLEEP = ["sleep", "1000"]


def test_up_creates_all_and_again_changes_nothing(project):
    project.write(
        {
            "web": {"command": SLEEP, "depends_on": ["db"], "ports": ["80"], "networks": ["front", "back"]},
            "db": {"command": SLEEP, "networks": {"back": {"aliases": ["database"]}}, "volumes": ["data:/data"]},
        },
        networks={"front": {}, "back": {}},
        volumes={"data": {}},
    )
    said = project("up", "-d").stderr
    assert said.index("db-1  Started") < said.index("web-1  Starting")
    before = project.containers()
    assert set(before) == {f"{project.name}-db-1", f"{project.name}-web-1"}
    assert project("exec", "-T", "web", "nslookup", "database").stdout.count("Address")
    again = project("up", "-d").stderr
    assert sorted(line.split()[-1] for line in again.splitlines()) == ["Running", "Running"]
    assert {name: found["ID"] for name, found in project.containers().items()} == {
        name: found["ID"] for name, found in before.items()
    }
    assert project("port", "web", "80").stdout.startswith("0.0.0.0:")
    assert project("volumes", "-q").stdout == f"{project.name}_data\n"
    assert project.name in project("ls", "-q").stdout
    assert project("top").stdout.count("sleep 1000") == 2
    assert f"{project.name}-db-1" in project("images").stdout
    project("down", "-v", "-t", "0")
    left = project.host.netctl("network", "ls", "-q", "--filter", f"label=com.docker.compose.project={project.name}")
    assert (left.stdout, project.containers()) == ("", {})


def test_a_changed_service_is_replaced_with_its_anonymous_volume_and_others_are_not_touched(project):
    web = {"command": SLEEP, "volumes": ["/anonymous"]}
    project.write({"web": web, "db": {"command": SLEEP}})
    project("up", "-d")
    project("exec", "-T", "web", "touch", "/anonymous/kept")
    before = project.containers()
    project.write({"web": {**web, "environment": {"A": "1"}}, "db": {"command": SLEEP}})
    said = project("up", "-d").stderr
    assert f"Container {project.name}-web-1  Recreated" in said and f"Container {project.name}-db-1  Running" in said
    after = project.containers()
    changed = {name for name in before if before[name]["ID"] != after[name]["ID"]}
    assert changed == {f"{project.name}-web-1"}
    assert project("exec", "-T", "web", "ls", "/anonymous").stdout == "kept\n"
    project("up", "-d", "--force-recreate", "-V", "--no-deps", "web")
    assert project("exec", "-T", "web", "ls", "/anonymous").stdout == ""


def test_a_service_that_cannot_be_replaced_leaves_the_old_container_running(project):
    project.write({"web": {"command": SLEEP}})
    project("up", "-d")
    before = project.containers()
    project.write({"web": {"command": SLEEP, "cap_add": ["NO_SUCH_CAPABILITY"]}})
    said = project("up", "-d", code=1).stderr
    assert 'netctl: service "web": ' in said and "NO_SUCH_CAPABILITY" in said
    assert {name: found["ID"] for name, found in project.containers().items()} == {
        name: found["ID"] for name, found in before.items()
    }


def test_scale_orphans_and_removal_of_the_highest_number(project):
    project.write({"web": {"command": SLEEP}, "old": {"command": SLEEP}})
    project("up", "-d", "--scale", "web=3")
    assert len(project.containers()) == 4
    project.write({"web": {"command": SLEEP}})
    assert f"Found orphan containers ({project.name}-old-1)" in project("up", "-d", "--scale", "web=2").stderr
    project("up", "-d", "--scale", "web=2", "--remove-orphans")
    assert set(project.containers()) == {f"{project.name}-web-1", f"{project.name}-web-2"}
    project("scale", "web=1")
    assert set(project.containers()) == {f"{project.name}-web-1"}
    assert "use SERVICE=NUMBER" in project("scale", "web", code=125).stderr


def test_services_that_were_not_named_are_no_orphans(project):
    project.write({"web": {"command": SLEEP}, "db": {"command": SLEEP}, "old": {"command": SLEEP}})
    project("up", "-d")
    project.write({"web": {"command": SLEEP}, "db": {"command": SLEEP}})
    said = project("up", "-d", "--no-deps", "--remove-orphans", "web").stderr
    assert set(project.containers()) == {f"{project.name}-web-1", f"{project.name}-db-1"}
    assert "old-1  Removed" in said and "db-1" not in said
    assert "orphan" not in project("up", "-d", "db").stderr


def test_start_starts_dependencies_and_up_waits_for_them_again(project):
    ill = {"command": SLEEP, "healthcheck": {"test": "test ! -f /ill", "interval": "50ms", "retries": 1}}
    project.write({"web": {"command": SLEEP, "depends_on": {"db": {"condition": "service_healthy"}}}, "db": ill})
    project("up", "-d")
    project("stop", "-t", "0")
    said = project("start", "web").stderr
    assert said.index("db-1  Started") < said.index("web-1  Starting")
    project("exec", "db", "touch", "/ill")
    wait_until(lambda: project.containers()[f"{project.name}-db-1"]["Health"] == "unhealthy")
    assert f"container {project.name}-db-1 is unhealthy" in project("up", "-d", code=1).stderr


def test_a_restart_of_a_named_service_restarts_those_that_ask_for_it(project):
    shared = {"command": SLEEP, "network_mode": "service:app", "sysctls": {"net.core.somaxconn": "99"}}
    project.write({"app": {"command": SLEEP}, "side": shared, "other": {"command": SLEEP}})
    project("up", "-d")
    assert project("exec", "app", "cat", "/proc/sys/net/core/somaxconn").stdout == "99\n"
    said = project("restart", "-t", "0", "app").stderr
    assert said.index("app-1  Started") < said.index("side-1  Restarting") and "other" not in said


def test_a_secret_that_cannot_be_written_into_a_read_only_container_is_refused(project):
    project.write(
        {"app": {"command": SLEEP, "read_only": True, "configs": [{"source": "c", "target": "/c"}]}},
        configs={"c": {"content": "x"}},
    )
    assert "secrets and configs without file cannot be written into a read-only" in project("up", "-d", code=1).stderr


def test_run_does_not_need_the_containers_of_its_service(project):
    project.write({"alone": {"command": SLEEP, "network_mode": "none"}})
    project("up", "-d")
    project("stop", "-t", "0")
    assert project("run", "--rm", "-T", "alone", "echo", "ran").stdout == "ran\n"


def test_up_with_wait_fails_for_a_container_that_ends_at_once(project):
    project.write({"brief": {"command": ["false"]}})
    assert f"container {project.name}-brief-1 exited (1)" in project("up", "--wait", code=1).stderr


def test_a_named_project_with_a_faulty_file_can_be_taken_down(project):
    project.write({"web": {"command": SLEEP}})
    project("up", "-d")
    (project.folder / "compose.yaml").write_text("services: {web: {imagee: x}}")
    assert "imagee: the key is not known" in project("down", code=1).stderr
    said = project("-p", project.name, "down", "-t", "0").stderr
    assert "the labels of the containers are used" in said and "web-1  Removed" in said


def test_logs_prints_both_streams_on_standard_output(project):
    project.write({"web": {"command": ["sh", "-c", "echo out; echo err >&2"]}})
    project("up", "-d")
    project("wait", "web")
    said = project("logs", "-f")
    assert sorted(said.stdout.splitlines()) == ["web-1  | err", "web-1  | out"] and said.stderr == ""


def test_conditions_of_dependencies(project):
    healthy = {"test": "test -f /ok", "interval": "100ms", "retries": 300}
    project.write(
        {
            "db": {"command": "sh -c 'sleep 0.4; touch /ok; sleep 1000'", "healthcheck": healthy},
            "init": {"command": "true"},
            "web": {
                "command": SLEEP,
                "depends_on": {
                    "db": {"condition": "service_healthy"},
                    "init": {"condition": "service_completed_successfully"},
                },
            },
        }
    )
    said = project("up", "-d", "--wait", code=1).stderr  # init has ended, so it does not run
    assert said.index("db-1  Healthy") < said.index("web-1  Starting")
    assert said.index("init-1  Exited") < said.index("web-1  Starting")


def test_a_dependency_that_fails_is_named_and_an_optional_one_does_not_matter(project):
    fails = {"command": "sh -c 'exit 3'"}
    condition = {"condition": "service_completed_successfully"}
    project.write(
        {
            "init": fails,
            "web": {"command": SLEEP, "depends_on": {"init": condition}},
            "tolerant": {"command": SLEEP, "depends_on": {"init": {**condition, "required": False}}},
        }
    )
    said = project("up", "-d", code=1).stderr
    assert 'service "web": service "init" didn\'t complete successfully: exit 3' in said
    states = {found["Service"]: found["State"] for found in project.containers().values()}
    assert (states["web"], states["init"]) == ("created", "exited")
    project("up", "-d", "--quiet-pull", "tolerant")
    assert project.containers()[f"{project.name}-tolerant-1"]["State"] == "running"


def test_secrets_and_configs_are_files(project):
    (project.folder / "file.txt").write_text("of a file")
    (project.folder / ".env").write_text("TOKEN=of the environment\n")
    project.write(
        {
            "web": {
                "command": SLEEP,
                "secrets": ["plain", {"source": "token", "target": "/t", "uid": "7", "gid": "8", "mode": "0400"}],
                "configs": [{"source": "inline", "target": "/etc/inline.conf"}],
            }
        },
        secrets={"plain": {"file": "./file.txt"}, "token": {"environment": "TOKEN"}},
        configs={"inline": {"content": "price: $$5"}},
    )
    project("up", "-d")
    shown = project(
        "exec", "-T", "web", "sh", "-c", "cat /run/secrets/plain /t /etc/inline.conf; stat -c ' %u %g %a' /t"
    )
    assert shown.stdout == "of a fileof the environmentprice: $5 7 8 400\n"


def test_namespaces_and_volumes_of_other_services_and_hooks(project):
    project.write(
        {
            "db": {
                "command": SLEEP,
                "volumes": ["/shared"],
                "hostname": "dbhost",
                "pre_stop": [{"command": ["touch", "/shared/stopped"]}],
            },
            "side": {
                "command": SLEEP,
                "network_mode": "service:db",
                "volumes_from": ["db:ro"],
                "post_start": [{"command": ["touch", "/started"]}],
            },
        }
    )
    project("up", "-d")
    address = "hostname; touch /shared/x || echo read-only; ls /started"
    assert project("exec", "-T", "side", "sh", "-c", address).stdout == "dbhost\nread-only\n/started\n"
    said = project("up", "-d", "--force-recreate", "db").stderr
    assert f"Container {project.name}-db-1  Recreated" in said
    assert project("exec", "-T", "db", "ls", "/shared").stdout == "stopped\n"
    again = project("up", "-d").stderr
    assert f"Container {project.name}-side-1  Recreated" in again  # it used the namespace of the replaced container


def test_external_networks_and_volumes_are_required_and_never_removed(project):
    external = f"{project.name}-outside"
    project.write({"web": {"command": SLEEP, "networks": ["n"]}}, networks={"n": {"external": True, "name": external}})
    said = project("up", "-d", code=1).stderr
    assert f"netctl: network {external} declared as external, but could not be found\n" in said
    project.host.netctl("network", "create", external)
    project("up", "-d")
    project("down", "-t", "0")
    project.host.netctl("network", "rm", external)


def test_a_network_with_other_settings_is_created_anew(project):
    project.write({"web": {"command": SLEEP, "networks": ["n"]}}, networks={"n": {}})
    project("up", "-d")
    project.write({"web": {"command": SLEEP, "networks": ["n"]}}, networks={"n": {"internal": True}})
    project("up", "-d")
    network = json.loads(project.host.netctl("network", "inspect", f"{project.name}_n").stdout)[0]
    assert network["Internal"] and len(network["Containers"]) == 1


def test_build_with_a_further_context_arguments_and_an_inline_dockerfile(project):
    (project.folder / "more").mkdir()
    (project.folder / "more/file").write_text("from the further context")
    dockerfile = "ARG BASE=busybox\nFROM $$BASE\nARG WORD\nCOPY --from=extra /file /file\nRUN echo $$WORD >/word\n"
    build = {
        "context": ".",
        "dockerfile_inline": dockerfile,
        "args": {"WORD": "built"},
        "additional_contexts": {"extra": "./more"},
    }
    project.write({"web": {"build": build, "command": SLEEP}})
    assert "Service web  Built" in project("up", "-d").stderr
    assert project("exec", "-T", "web", "cat", "/file", "/word").stdout == "from the further contextbuilt\n"
    assert "Built" not in project("up", "-d").stderr
    assert "CACHED" in (said := project("build").stderr) or "Using cache" in said
    project("down", "--rmi", "local", "-t", "0")
    assert project.host.netctl("image", "inspect", f"{project.name}-web", check=False).returncode == 1


def test_run_starts_dependencies_and_returns_the_code_of_the_command(project):
    project.write({"db": {"command": SLEEP}, "web": {"command": SLEEP, "depends_on": ["db"], "ports": ["80"]}})
    done = project(
        "run", "--rm", "-T", "-e", "A=1", "web", "sh", "-c", "echo $A; ping -c 1 db >/dev/null && exit 5", code=5
    )
    assert done.stdout == "1\n"
    assert set(project.containers()) == {f"{project.name}-db-1"}
    name = project("run", "-d", "web").stdout.strip()
    assert name.startswith(f"{project.name}-web-run-")
    labels = project.host.inspect(name)["Config"]["Labels"]
    assert labels["com.docker.compose.oneoff"] == "True"
    project("down", "-t", "0", "--remove-orphans")


def test_logs_have_prefixes_and_keep_the_order_of_each_container(project):
    count = "sh -c 'for i in 1 2 3; do echo line $$i; done; echo problem >&2'"
    project.write({"a": {"command": count}, "longer": {"command": count}})
    project("up", "-d")
    wait_until(lambda: all(found["State"] == "exited" for found in project.containers().values()))
    done = project("logs", "-f")
    lines = [line for line in done.stdout.splitlines() if line.startswith("a-1 ")]
    assert [line for line in lines if "problem" not in line] == [f"a-1       | line {number}" for number in (1, 2, 3)]
    assert "longer-1  | problem\n" in done.stdout
    assert project("logs", "--no-log-prefix", "--since", "10m", "a").stdout.startswith("line 1\n")
    assert "\x1b[" not in done.stdout and "\x1b[" in project("--ansi", "always", "logs").stdout


def test_up_in_the_foreground_prints_output_and_a_signal_stops_in_reverse_order(project):
    loop = "sh -c 'echo ready; sleep 1000'"
    project.write({"db": {"command": loop}, "web": {"command": loop, "depends_on": ["db"]}})
    running = project.begin("up")
    seen = []
    while "web-1  | ready\n" not in seen:
        seen.append(running.stdout.readline())
        assert seen[-1], "".join(seen)
    running.send_signal(signal.SIGTERM)
    rest = running.communicate(timeout=30)[0]
    assert running.returncode == 130
    assert rest.index("web-1  Stopped") < rest.index("db-1  Stopping")
    assert {found["State"] for found in project.containers().values()} == {"exited"}


def test_a_second_interruption_kills(project):
    stubborn = "sh -c 'trap \"\" TERM; echo ready; while true; do sleep 1; done'"
    project.write({"web": {"command": stubborn, "stop_grace_period": "100s"}})
    running = project.begin("up")
    while "ready" not in running.stdout.readline():
        pass
    running.send_signal(signal.SIGINT)
    while "Stopping" not in running.stdout.readline():
        pass
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=20)
    assert running.returncode == 130
    assert project.containers()[f"{project.name}-web-1"]["ExitCode"] == 137


def test_up_returns_the_exit_code_of_the_service_that_is_asked_for(project):
    project.write({"test": {"command": "sh -c 'exit 4'"}, "db": {"command": SLEEP}})
    project("up", "--exit-code-from", "test", code=4)
    project("up", "--abort-on-container-exit", code=4)
    said = project("up", "-d", "--exit-code-from", "test", code=125).stderr
    assert "--detach and --exit-code-from are incompatible" in said


def test_lifecycle_verbs(project):
    project.write({"web": {"command": SLEEP}, "db": {"command": SLEEP}})
    project("create")
    state = lambda: {found["Service"]: found["State"] for found in project.containers().values()}  # noqa: E731
    assert state() == {"web": "created", "db": "created"}
    project("start")
    project("pause", "web")
    assert state() == {"web": "paused", "db": "running"}
    project("unpause")
    before = project.host.inspect(f"{project.name}-web-1")["State"]["StartedAt"]
    project("restart", "-t", "0", "web")
    assert project.host.inspect(f"{project.name}-web-1")["State"]["StartedAt"] > before
    project("kill", "-s", "KILL", "db")
    wait_until(lambda: state() == {"web": "running", "db": "exited"})
    assert project("ps", "--services").stdout == "web\n"
    ended = json.loads(project("events", "--json", "--since", "5m", "--until", "0s", "db").stdout.splitlines()[-1])
    assert (ended["service"], ended["attributes"]["name"]) == ("db", f"{project.name}-db-1")
    assert "use a duration such as 10m" in project("events", "--since", "zork", code=125).stderr
    project("stop", "-t", "0")
    assert "exited with status code 137" in project("wait", "web", code=137).stdout
    project("rm", "-f", "db")
    assert set(state()) == {"web"}


def test_copies_commits_and_exports(project):
    project.write({"web": {"command": SLEEP}})
    project("up", "-d")
    (project.folder / "here").write_text("content")
    project("cp", "here", "web:/there")
    project("cp", "web:/there", "back")
    assert (project.folder / "back").read_text() == "content"
    project("export", "-o", "all.tar", "web")
    assert (project.folder / "all.tar").stat().st_size > 1000
    project("commit", "web", f"{project.name}-image")
    project.host.netctl("image", "rm", f"{project.name}-image")


def test_a_project_is_taken_down_by_its_name_alone(project, tmp_path):
    project.write({"web": {"command": SLEEP, "volumes": ["v:/v"]}}, volumes={"v": {}})
    project("up", "-d")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shown = project.host.netctl("compose", "-p", project.name, "ps", "--services", cwd=elsewhere).stdout
    assert shown == "web\n"
    project.host.netctl("compose", "-p", project.name, "down", "-v", "-t", "0", cwd=elsewhere)
    assert project.containers() == {} and project("volumes", "-q").stdout == ""


def test_a_dry_run_changes_nothing(project):
    project.write({"web": {"command": SLEEP}})
    assert f"DRY-RUN MODE - Container {project.name}-web-1  Created" in project("--dry-run", "up", "-d").stderr
    assert project.containers() == {}


def test_mistakes_are_named(project):
    project.write({"web": {"command": SLEEP}})
    assert "no such service: wen: did you mean 'web'?" in project("up", "-d", "wen", code=1).stderr
    assert "did you mean --detach?" in project("up", "--detached", code=125).stderr
    assert (
        "cannot reach netd-runtime"
        in project.host.netctl(
            "--run-dir", "/nonexistent", "compose", "up", "-d", cwd=project.folder, check=False
        ).stderr
    )
