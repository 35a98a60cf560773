"""Decisions of builds: variables, stages, mounts, configuration, cache keys, modes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.common.errors import BadRequest
from runtime.build.dockerfile import document
from runtime.build.dockerfile.faults import DockerfileError
from runtime.build.dockerfile.instructions import Arg, Dockerfile
from runtime.build.execute.build_session import step_of_image
from runtime.build.files import file_modes
from runtime.build.plan import cache_keys, config_changes, run_mounts, stage_graph, variables
from runtime.build.plan.config_changes import ImageSettings
from runtime.build.plan.variables import Arguments, Variables
from runtime.images.image_config import History, ImageConfig, ImageDocument, ImageRecord, RootFS


def parsed(text: str) -> Dockerfile:
    return document.parse(text.encode())


def planned(text: str, target: str = "", **given_arguments: str) -> stage_graph.StagePlan:
    dockerfile = parsed(text)
    arguments = Arguments(given_arguments, "amd64")
    arguments.declare_before_from(dockerfile.arguments, dockerfile.escape)
    return stage_graph.plan(dockerfile, target, arguments.for_from())


# Stages


def test_only_what_the_target_needs_is_planned():
    text = (
        "FROM a AS base\nRUN x\nFROM base AS one\nFROM b AS unused\nFROM c AS files\n"
        "FROM d\nCOPY --from=files /x /y\nRUN --mount=from=one,target=/z x\n"
    )
    found = planned(text)
    assert [stage.stage.index for stage in found.stages] == [0, 1, 3, 4]
    assert [stage.parent for stage in found.stages] == [None, 0, None, None]
    assert found.stages[-1].waits_for == {1, 3} and found.steps == 7
    assert [stage.first_step for stage in found.stages] == [1, 3, 4, 5]
    assert [stage.stage.index for stage in planned(text, "ONE").stages] == [0, 1]
    assert [stage.stage.index for stage in planned(text, "2").stages] == [2]


def test_base_names_are_expanded_with_the_arguments_before_from():
    text = "ARG tag=1\nARG full=x:$tag\nFROM $full\nFROM img-$TARGETARCH"
    assert planned(text, "0", tag="2").stages[0].image == "x:2"
    assert planned(text).stages[0].image == "img-amd64"
    with pytest.raises(DockerfileError, match="should not be blank"):
        planned("FROM $none")


def test_a_stage_refers_to_earlier_stages_only():
    found = planned("FROM x AS a\nCOPY --from=b /f /f\nFROM a AS b\n")
    assert found.stages[0].waits_for == frozenset()
    stages = parsed("FROM x AS a\nFROM y\n").stages
    assert stage_graph.find_stage(stages, "0", 1) == 0 and stage_graph.find_stage(stages, "1", 1) is None
    with pytest.raises(BadRequest, match="target stage"):
        planned("FROM x\n", "7")


@given(st.lists(st.lists(st.integers(0, 9), max_size=3), min_size=1, max_size=8))
def test_a_plan_holds_exactly_the_reachable_stages(uses):
    lines = []
    for index, wanted in enumerate(uses):
        lines.append(f"FROM img AS s{index}")
        lines += [f"COPY --from=s{other} /a /b" for other in wanted]
    found = planned("\n".join(lines))
    reachable, pending = set(), [len(uses) - 1]
    while pending:
        index = pending.pop()
        reachable.add(index)
        pending += [other for other in uses[index] if other < index and other not in reachable]
    assert [stage.stage.index for stage in found.stages] == sorted(reachable)
    assert found.steps == sum(1 + len(uses[index]) for index in reachable)


# Variables


def declared(text: str, arguments: Arguments, before: Variables | None = None) -> dict[str, str]:
    (instruction,) = parsed(f"FROM x\n{text}").stages[0].instructions
    assert isinstance(instruction, Arg)
    return dict(variables.declare(before or Variables({}, {}), instruction, arguments, "\\").arguments)


def test_arg_takes_the_given_value_the_default_or_that_of_before_from():
    arguments = Arguments({"a": "given", "unset": None}, "arm64", before_from={"b": "before"})
    assert declared("ARG a=default", arguments) == {"a": "given"}
    assert declared("ARG b", arguments) == {"b": "before"}
    assert declared("ARG b=own", arguments) == {"b": "own"}
    assert declared("ARG c", arguments) == {}
    assert declared("ARG unset=x", arguments) == {"unset": "x"}
    assert declared("ARG TARGETARCH BUILDPLATFORM", arguments) == {
        "TARGETARCH": "arm64",
        "BUILDPLATFORM": "linux/arm64",
    }
    assert declared("ARG d=$e-$a", arguments, Variables({"e": "env"}, {"a": "arg"}))["d"] == "env-arg"
    assert arguments.unused() == []
    assert Arguments({"x": "1", "HTTP_PROXY": "p"}, "amd64").unused() == ["x"]


def test_env_hides_arg():
    found = Variables({"a": "env"}, {"a": "arg", "b": "arg"})
    assert found.all() == {"a": "env", "b": "arg"} and found.visible_arguments() == {"b": "arg"}


# Mounts


def mount(text: str) -> run_mounts.RunMount:
    return run_mounts.parse(text, "/work", lambda value: value.replace("$x", "expanded"))


def test_mounts_are_parsed():
    cache = mount("type=cache,target=c,sharing=locked,uid=5,mode=0700")
    assert (cache.target, cache.id, cache.sharing, cache.uid, cache.mode, cache.writable) == (
        "/work/c", "/work/c", "locked", 5, 0o700, True,
    )  # fmt: skip
    bind = mount("target=/t,from=stage,source=/$x")
    assert (bind.kind, bind.origin, bind.source, bind.writable) == ("bind", "stage", "/expanded", False)
    assert mount("type=bind,dst=/t,rw").writable and not mount("type=cache,target=/t,readonly").writable
    secret = mount("type=secret,id=a/b,required")
    assert (secret.target, secret.mode, secret.required) == ("/run/secrets/b", 0o400, True)
    assert mount("type=secret,id=t,env=TOKEN").target == "" and mount("type=tmpfs,target=/t,size=2m").size == 2 << 20


@pytest.mark.parametrize(
    "text",
    ["type=nope,target=/t", "type=cache", "type=bind,target=/", "type=cache,target=/t,sharing=x", "type=secret",
     "type=tmpfs,target=/t,id=x", "target=/t,target=/u", "type=cache,target=/t,mode=9", "type=cache,target=/t,uid=-1",
     "type=tmpfs,target=/t,size=x", "type=bind,target=/t,rw=maybe", "type=ssh"],
)  # fmt: skip
def test_invalid_mounts_are_refused(text):
    with pytest.raises(DockerfileError):
        mount(text)


@given(st.text(alphabet="typecahindrsk=,/\"' ", max_size=40))
def test_any_mount_is_parsed_or_refused(text):
    try:
        mount(text)
    except DockerfileError:
        pass


# Configuration


def after(text: str, config: ImageConfig | None = None, **values: str) -> ImageSettings:
    settings = ImageSettings(config or ImageConfig())
    for instruction in parsed(f"FROM x\n{text}").stages[0].instructions:
        settings = config_changes.apply(settings, instruction, values, "\\")
    return settings


def test_env_is_expanded_with_the_values_before_the_instruction():
    assert after("ENV a=new b=$a", a="old").config.env == ["a=new", "b=old"]
    assert after("ENV a b", ImageConfig(env=["a=1", "c=2"])).config.env == ["a=b", "c=2"]


def test_relative_working_directories_are_joined():
    assert after("WORKDIR /a\nWORKDIR b/../c\nWORKDIR ./d/").config.working_dir == "/a/c/d"
    assert after("WORKDIR ../../x").config.working_dir == "/x"


def test_an_entrypoint_keeps_a_command_of_its_own_stage_only():
    base = ImageConfig(cmd=["base"])
    assert after("ENTRYPOINT e", base).config.cmd is None
    assert after('CMD ["own"]\nENTRYPOINT e', base).config.cmd == ["own"]
    assert after('ENTRYPOINT e\nCMD ["own"]', base).config.cmd == ["own"]


def test_health_checks():
    check = after("HEALTHCHECK --timeout=2s CMD a b").config.healthcheck
    assert check is not None and check.test == ["CMD-SHELL", "a b"] and check.timeout == 2 * 10**9
    assert after("HEALTHCHECK NONE").config.healthcheck.test == ["NONE"]


# Keys


def test_keys_differ_where_results_can_differ():
    key = cache_keys.run_key("p", ["sh", "-c", "x"], {"a": "1"})
    others = [
        cache_keys.run_key("q", ["sh", "-c", "x"], {"a": "1"}),
        cache_keys.run_key("p", ["sh", "-c x"], {"a": "1"}),
        cache_keys.run_key("p", ["sh", "-c", "x"], {"a": "2"}),
        cache_keys.run_key("p", ["sh", "-c", "x"], {"a": "1"}, mounts=["m"]),
        cache_keys.run_key("p", ["sh", "-c", "x"], {"a": "1"}, network="none"),
        cache_keys.copy_key("p", ["sh"], "x", []),
    ]
    assert len({key, *others}) == 7
    assert key == cache_keys.run_key("p", ["sh", "-c", "x"], {"a": "1"})


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_lists_of_sources_are_not_confused(first, second):
    same = cache_keys.copy_key("p", first, "/t", []) == cache_keys.copy_key("p", second, "/t", [])
    assert same == (first == second)


def test_a_step_is_found_in_the_history_of_an_image():
    history = [
        History(created="1", comment="base"),
        History(created="2", comment="netd.build:k1", empty_layer=True),
        History(created="3", comment="netd.build:k2"),
    ]
    diffs = [f"sha256:{digit * 64}" for digit in "12"]
    made = ImageDocument(architecture="a", os="linux", rootfs=RootFS(diff_ids=diffs), history=history)
    image = ImageRecord(id="x", text=msgspec.json.encode(made).decode(), layers=[], size=0)
    assert (step_of_image(image, "k1").diff, step_of_image(image, "k1").created) == ("", "2")
    assert step_of_image(image, "k2").diff == diffs[1]
    assert step_of_image(image, "k3") is None


# Modes


@pytest.mark.parametrize(
    ("text", "mode", "folder", "expected"),
    [
        ("0640", 0o777, False, 0o640),
        ("4755", 0, False, 0o4755),
        ("u=rw,go=r", 0o777, False, 0o644),
        ("+x", 0o644, False, 0o755),
        ("go-rwx", 0o755, True, 0o700),
        ("a=rX", 0o600, False, 0o444),
        ("a=rX", 0o600, True, 0o555),
        ("u+s,g+s", 0o755, False, 0o6755),
        ("+t", 0o777, True, 0o1777),
    ],
)
def test_modes_change_as_chmod_changes_them(text, mode, folder, expected):
    assert file_modes.parse(text).apply(mode, is_folder=folder) == expected


@pytest.mark.parametrize("text", ["9", "", "u", "rw", "u=rw,", "123456"])
def test_invalid_modes_are_refused(text):
    with pytest.raises(BadRequest):
        file_modes.parse(text)
