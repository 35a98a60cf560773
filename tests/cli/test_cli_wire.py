"""Decoding of frames, detach keys and templates."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.cli.output.template import render
from netd.cli.transport.stream_frames import DetachKeys, Frames, detach_keys

PIECES = st.lists(st.tuples(st.sampled_from([1, 2, 3]), st.binary(max_size=40)), max_size=8)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(place, len(data)) for place in at), len(data)]
    return [data[low:high] for low, high in pairwise(edges)]


@given(PIECES, st.lists(st.integers(0, 400), max_size=12))
def test_frames_come_apart_wherever_the_stream_is_cut(pieces, at):
    wire = b"".join(bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data for stream, data in pieces)
    frames = Frames()
    found = [piece for part in cut(wire, at) for piece in frames.feed(part)]
    for stream in (1, 2, 3):
        wanted = b"".join(data for number, data in pieces if number == stream)
        assert b"".join(data for number, data in found if number == stream) == wanted


def test_an_unfinished_frame_is_shown_at_once():
    assert list(Frames().feed(b"\x01\0\0\0\0\0\0\x09half")) == [(1, b"half")]


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=6))
def test_what_is_typed_arrives_unless_the_keys_complete(typed, at):
    keys = DetachKeys(b"\x10\x11")
    sent = b""
    for part in cut(typed, at):
        more, detached = keys.feed(part)
        sent += more
        if detached:
            assert sent == typed[: typed.index(b"\x10\x11")]
            return
    assert b"\x10\x11" not in typed
    assert sent == typed or sent + b"\x10" == typed


def test_a_key_that_only_begins_like_the_others_is_late_not_lost():
    keys = DetachKeys(b"\x10\x11")
    assert keys.feed(b"a\x10") == (b"a", False)
    assert keys.feed(b"\x10b") == (b"\x10\x10b", False)
    assert keys.feed(b"c\x10\x11rest") == (b"c", True)


def test_no_keys_never_detach():
    assert DetachKeys(b"").feed(b"\x10\x11") == (b"\x10\x11", False)


def test_keys_are_written_as_docker_writes_them():
    assert detach_keys("ctrl-p,ctrl-q") == b"\x10\x11"
    assert detach_keys("ctrl-@,ctrl-[,ctrl-_,x,X") == b"\x00\x1b\x1fxX"
    for text in ("ctrl-", "ctrl-ab", "strg-p", "ctrl-1"):
        with pytest.raises(ValueError, match="unknown key"):
            detach_keys(text)


VALUE = {
    "Name": "/web",
    "State": {"Running": True, "Pid": 7, "Health": None},
    "Networks": {"b": {"IP": "2"}, "a": {"IP": "1"}},
    "List": ["x", "y"],
    "with-dash": 3,
    "Labels": {"app": "x"},
    "Nothing": [],
    "Empty": None,
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain", "plain"),
        ("{{.Name}}:{{ .State.Pid }}", "/web:7"),
        ("{{.State.Running}} {{.State.Health}} {{.Labels.none}}", "true <nil> <no value>"),
        ("{{json .State}}", '{"Running":true,"Pid":7,"Health":null}'),
        ("{{len .List}} {{.List}}", "2 [x y]"),
        ('{{index .Networks "b"}} {{index .List 1}} {{index . "with-dash"}}', "map[IP:2] y 3"),
        ("{{range .Networks}}{{.IP}},{{end}}", "1,2,"),
        ("{{range $k, $v := .Networks}}{{$k}}={{$v.IP}} {{end}}", "a=1 b=2 "),
        ("{{range .List}}{{.}}{{$.Name}}{{end}}", "x/weby/web"),
        ("{{range $n := .Networks}}{{range $.List}}{{.}}{{$n.IP}}{{end}}{{end}}", "x1y1x2y2"),
        ("{{range .Nothing}}x{{else}}none{{end}}", "none"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if .Nothing}}a{{else if .Labels.app}}b{{else}}c{{end}}", "b"),
        ("{{if .Nothing}}a{{else if .Nothing}}b{{else if .Empty}}c{{else}}d{{end}}|", "d|"),
        ("{{with .State}}{{.Pid}}{{end}}{{with .Nothing}}x{{else}}y{{end}}", "7y"),
        ("{{with $s := .State}}{{$s.Pid}}{{end}}", "7"),
        ("{{$x := 1}}{{range .List}}{{$x = len .}}{{end}}{{$x}}", "1"),
        ("a {{- .Name -}} b {{/* nothing */}}c", "a/webb c"),
        ('{{.Name | upper | printf "%s!"}} {{printf "%5d|%-4s|%q|%%" 7 "x" "y"}}', '/WEB!     7|x   |"y"|%'),
        (
            '{{join .List ","}} {{split "a:b" ":"}} {{lower "AB"}} {{title "ab cd"}} {{pad "x" 1 2}}|',
            "x,y [a b] ab Ab Cd  x  |",
        ),
        ('{{truncate "abcdef" 3}} {{slice "abcdef" 1 3}} {{println "a" 1}}', "abc bc a 1\n"),
        ('{{eq .Name "/web"}} {{ne 1 2}} {{lt 1 2}} {{ge "b" "a"}} {{eq 1 2 1}}', "true true true true true"),
        ("{{and .State.Running .Nothing}}{{or .Nothing .Name}} {{not .Nothing}}", "[]/web true"),
        ('{{(index .Networks "a").IP}} {{len (index .List 0)}} {{index .Labels "none"}}|', "1 1 |"),
        ("{{range $i, $v := .List}}{{if $i}}, {{end}}{{$v}}{{end}}", "x, y"),
        ("{{range .List}}{{if eq . `y`}}{{break}}{{end}}{{.}}{{end}}", "x"),
        ("{{range .List}}{{if eq . `x`}}{{continue}}{{end}}{{.}}{{end}}", "y"),
        ('{{print 1 2 "a" "b" 3}} {{js "it' + "'" + 's"}}', "1 2ab3 it\\'s"),
        ("{{true}} {{1.5}} {{'a'}} {{nil | json}}", "true 1.5 97 null"),
    ],
)
def test_templates_get_at_values_as_dockers_do(template, text):
    assert render(template, VALUE) == text


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{range .List}}x", "column 3: {{range}} without {{end}}"),
        ("{{end}}", "column 3: unexpected {{end}}"),
        ("{{}}", "missing value for command"),
        ("{{$x}}", "column 3: undefined variable $x"),
        ("ab{{.Nmae}}", "column 5: can't evaluate field Nmae; did you mean Name?"),
        ("{{.Name.First}}", "can't evaluate field First in /web"),
        ("{{zork .Name}}", 'function "zork" not defined; there are '),
        ("{{.Name .Name}}", "not a function"),
        ("{{index .List 5}}", "index out of range: 5"),
        ('{{lt 1 "a"}}', "incompatible types"),
        ("{{len}}", "wrong number or type of arguments for len"),
        ("{{(len .List}}", "unclosed left parenthesis"),
        ("{{.Name", "column 1: unclosed action"),
        ("{{break}}", "outside {{range}}"),
        ('{{template "x"}}', "template is not supported"),
        ("{{.Name ; }}", "unexpected ';'"),
        ("{{range .Name}}{{end}}", "cannot iterate"),
        ('{{printf "%999999999d" 1}}', "above 4096"),
        ("{{" + "(" * 200 + "1" + ")" * 200 + "}}", "nested too deeply"),
    ],
)
def test_faults_of_templates_are_errors_with_their_position(template, words):
    with pytest.raises(ValueError, match="template: ") as refused:
        render(template, VALUE)
    assert words in str(refused.value)


@given(st.text("{}.$|()\"'`,:=-/*% \nabif range end else", max_size=60))
def test_any_text_is_rendered_or_refused(text):
    for template in (text, "{{" + text + "}}"):
        try:
            render(template, VALUE)
        except ValueError as error:
            assert str(error).startswith("template: ")
