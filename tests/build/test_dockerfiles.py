"""Parsing of Dockerfiles: lines, here-documents, flags, instructions, compared with dockerfile-parse where it can."""

from __future__ import annotations

import io
import json

import pytest
from dockerfile_parse import DockerfileParser
from hypothesis import given
from hypothesis import strategies as st

from runtime.build.dockerfile import document, here_documents
from runtime.build.dockerfile import instructions as values
from runtime.build.dockerfile.faults import DockerfileError


def body(text: str) -> tuple[values.Instruction, ...]:
    """Return the instructions after ``FROM x``."""
    return document.parse(f"FROM x\n{text}".encode()).stages[0].instructions


def only(text: str) -> values.Instruction:
    (found,) = body(text)
    return found


# Lines


def test_continuations_are_joined_and_comments_and_blank_lines_inside_dropped():
    run = only("RUN echo a \\\n  # comment\n\n  && echo b\\\n\\\n c \\  \n")
    assert run.command.words == ("echo a   && echo b c",)
    assert run.line == 2


def test_an_escaped_escape_character_continues_nothing():
    first, second = body("RUN echo a\\\\\nRUN b")
    assert first.command.words == ("echo a\\\\",) and second.command.words == ("b",)


def test_the_escape_directive_changes_the_continuation():
    found = document.parse(b"# escape=`\nFROM x\nCOPY a `\n C:\\\n")
    assert found.escape == "`"
    assert found.stages[0].instructions[0].target == "C:\\"


def test_the_syntax_directive_has_no_effect_and_is_noted():
    found = document.parse(b"#syntax = docker/dockerfile:1\n# check=skip=all\nFROM x\n")
    assert len(found.notes) == 2 and "syntax=docker/dockerfile:1" in found.notes[0]


def test_a_directive_after_a_comment_is_a_comment():
    assert document.parse(b"# a comment\n# escape=`\nFROM x\n").escape == "\\"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"# escape=`\n# escape=\\\nFROM x", "line 2: only one escape parser directive can be used"),
        (b"# escape=x\nFROM x", "line 1: invalid ESCAPE token 'x'"),
        (b"", "the Dockerfile \\(Dockerfile\\) cannot be empty"),
        (b"# x\n", "file with no instructions"),
        (b"RUN x\n", "no build stage in current context"),
        (b"FROM a\nFOO b", "line 2: unknown instruction: FOO"),
        (b"FRMO a\n", "did you mean FROM"),
        (b"FROM\n", "line 1: FROM requires either one or three arguments"),
        (b"FROM a b c\n", "FROM requires either one or three arguments"),
        (b"FROM a AS 1b\n", "name can't start with a number"),
        (b"FROM a AS x\nFROM b AS X\n", "line 2: x stage name already used"),
        (b"FROM a\nCOPY b\n", "line 2: COPY requires at least two arguments, but only one was provided"),
        (b"FROM a\nCOPY --foo=1 b c\n", "line 2: unknown flag: --foo"),
        (b"FROM a\nCOPY --chown b c\n", "missing a value on flag: --chown"),
        (b"FROM a\nCOPY --from=a --from=b c d\n", "duplicate flag specified: --from"),
        (b"FROM a\nENV b\n", "ENV must have two arguments"),
        (b"FROM a\nLABEL a=b c\n", "can't find = in"),
        (b"FROM a\nENV =b\n", "names can not be blank"),
        (b"FROM a\nWORKDIR\n", "WORKDIR requires exactly one argument"),
        (b"FROM a\nSHELL sh\n", "SHELL requires the arguments to be in JSON form"),
        (b"FROM a\nVOLUME []\n", "VOLUME requires at least one argument"),
        (b"FROM a\nARG\n", "ARG requires at least one argument"),
        (b"FROM a\nCMD [1]\n", "arrays must be comprised of strings only"),
        (b"FROM a\nONBUILD FROM x\n", "FROM isn't allowed as an ONBUILD trigger"),
        (b"FROM a\nONBUILD ONBUILD RUN x\n", "Chaining ONBUILD"),
        (b"FROM a\nHEALTHCHECK --interval=x CMD a\n", 'time: invalid duration "x"'),
        (b"FROM a\nHEALTHCHECK --retries=-1 CMD a\n", r"--retries cannot be negative \(-1\)"),
        (b"FROM a\nHEALTHCHECK CMD\n", "missing command after HEALTHCHECK CMD"),
        (b"FROM a\nRUN <<EOF\nx\n", "unterminated heredoc"),
        (b"FROM a\nRUN \xff\n", "line 2: the line is not UTF-8"),
        (b"FROM a\nRUN a\0b\n", "line 2: the line holds a NUL"),
        (b"FROM a\nRUN " + b"x" * 300_000, "line 2: the instruction is longer than"),
    ],
)
def test_an_invalid_file_is_refused_with_the_line(text, fault):
    with pytest.raises(DockerfileError, match=fault):
        document.parse(text)


# Here-documents


@pytest.mark.parametrize(
    ("mark", "name", "expand"),
    [
        ("<<EOF", "EOF", True),
        ("<<'EOF'", "EOF", False),
        ('<<"EOF"', "EOF", False),
        ("<<-EOF", "EOF", True),
        ('<<EO"F"', "EOF", False),
        ("<<eo\\'f", "eo'f", True),
        ("<<'one two'", "one two", False),
        ("<<$EOF", "$EOF", True),
        ("3<<EOF", "EOF", True),
    ],
)
def test_a_mark_of_a_here_document_is_read(mark, name, expand):
    found = here_documents.parse_mark(mark)
    assert (found.name, found.expand, found.chomp) == (name, expand, mark.startswith("<<-"))


@pytest.mark.parametrize("text", ["", "EOF", "<<", "<<-", "<EOF", "<<<EOF", "<<EOF sh"])
def test_other_words_are_no_mark(text):
    assert here_documents.parse_mark(text) is None


@pytest.mark.parametrize("text", ["<<'EOF", '<<"EOF', "<<EOF'", '<<EOF"'])
def test_a_mark_with_an_open_quotation_mark_is_refused(text):
    with pytest.raises(DockerfileError, match="not closed"):
        here_documents.parse_mark(text)


def test_here_documents_keep_their_content():
    run, copy, last = body(
        "RUN <<A python3\n# kept\n\tx \\\n\nA\nCOPY <<-X <<'Y' /d/\n\tY\n\tX\n$v\nY\nRUN << EOF\nEOF\n"
    )
    assert run.here_documents[0].content == "# kept\n\tx \\\n\n"
    assert run.command.words == ("<<A python3",)
    assert [(item.name, item.text, item.expand) for item in copy.here_documents] == [
        ("X", "Y\n", True),
        ("Y", "$v\n", False),
    ]
    assert copy.sources == ("<<-X", "<<'Y'") and copy.target == "/d/"
    assert last.here_documents[0].content == ""


@pytest.mark.parametrize("text", ['RUN "<<NO"', "RUN '<<NO'", 'RUN ["<<EOF"]', "USER <<EOF", "RUN cat <<<x"])
def test_no_here_document_is_seen_where_none_is(text):
    assert not getattr(only(text), "here_documents", ())


# Instructions


def test_the_forms_of_commands():
    shell, plain, broken = body('CMD echo "a b"\nCMD ["a", "b"]\nCMD [a, b]')
    assert (shell.command.words, shell.command.shell) == (('echo "a b"',), True)
    assert (plain.command.words, plain.command.shell) == (("a", "b"), False)
    assert broken.command.shell


def test_assignments_keep_quotes_and_the_old_form_takes_the_rest():
    new, old = body('ENV a=1 b="x y" c=d\\ e\nENV name some value = x')
    assert new.pairs == (("a", "1"), ("b", '"x y"'), ("c", "d\\ e"))
    assert old.pairs == (("name", "some value = x"),)


def test_copy_takes_its_flags():
    copy = only('COPY --from=b --chown=a:b --chmod=0755 --link --exclude=*.o --exclude=x --parents ["a b", "/c d"]')
    assert copy.sources == ("a b",) and copy.target == "/c d"
    assert (copy.origin, copy.owner, copy.mode, copy.link, copy.parents) == ("b", "a:b", "0755", True, True)
    assert copy.exclude == ("*.o", "x")


def test_a_health_check_takes_times_and_none():
    check, none = body("HEALTHCHECK --interval=1m30s --timeout=1.5s --retries=2 CMD curl x\nHEALTHCHECK NONE")
    assert (check.interval, check.timeout, check.retries) == (90 * 10**9, 1_500_000_000, 2)
    assert none.command is None


def test_a_trigger_keeps_its_here_document():
    trigger = only("ONBUILD RUN <<E\nhello\nE\n").trigger
    (again,) = document.parse_triggers([trigger])
    assert again.here_documents[0].content == "hello\n"


def test_stages_have_names_and_arguments_before_the_first():
    found = document.parse(b"ARG A=1\narg B\nFROM x:$A AS Build\nRUN a\nfrom --platform=linux/amd64 y\n")
    assert [stage.name for stage in found.stages] == ["build", ""]
    assert [argument.arguments for argument in found.arguments] == [(("A", "1"),), (("B", None),)]
    assert found.stages[1].base.platform == "linux/amd64"


# A second opinion

LINES = [
    "RUN echo a && \\\n  echo b",
    'CMD ["x", "y"]',
    "COPY a b \\\n  c /d/",
    "EXPOSE 80 81/udp",
    "USER me",
    "WORKDIR /a/b",
    "LABEL a=b",
    "ENTRYPOINT run it",
    "VOLUME /data",
    "# comment",
    "",
]


@given(st.lists(st.sampled_from(LINES), max_size=8))
def test_dockerfile_parse_reads_the_same_instructions(lines):
    text = "\n".join(["FROM base:1", *lines]) + "\n"
    other = DockerfileParser(fileobj=io.BytesIO(text.encode()))
    expected = [
        (entry["instruction"], entry["startline"] + 1) for entry in other.structure if entry["instruction"] != "COMMENT"
    ]
    found = document.parse(text.encode())
    stage = found.stages[0]
    assert [(item.keyword, item.line) for item in (stage.base, *stage.instructions)] == expected
    assert stage.base.image == other.baseimage


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(data):
    try:
        document.parse(data)
    except DockerfileError:
        pass


@given(st.text(alphabet=st.sampled_from(list("FROMRUNCPY <EO\n\\\"'[]=-ab")), max_size=80))
def test_any_text_of_the_usual_characters_is_parsed_or_refused(text):
    try:
        document.parse(b"FROM x\n" + text.encode())
    except DockerfileError:
        pass


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=("Cs", "Cc")), min_size=1), min_size=1))
def test_the_json_form_keeps_words_exactly(words):
    assert only(f"CMD {json.dumps(words)}").command.words == tuple(words)
