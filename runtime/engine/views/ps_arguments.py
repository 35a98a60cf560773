"""Parses the arguments of ps(1) that clients of ``top`` send, in the UNIX, BSD and GNU styles.  Pure.

The processes are those of the container, so options that select processes by terminal or select all are accepted and
have no effect.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from netd.common.digits import unsigned
from netd.common.errors import BadRequest
from runtime.engine.views.ps_columns import COLUMNS, Column, ProcessEntry

_MAX_PID = 1 << 22
_PLAIN = "pid tname time ucmd"
_FULL = "user=UID pid ppid c stime tname time cmd"
_EXTRA_FULL = "user=UID pid ppid c sz rss psr stime tname time cmd"
_LONG = "f s uid pid ppid c opri ni addr sz wchan tname time ucmd"
_LONG_FULL = "f s user=UID pid ppid c opri ni addr sz wchan stime tname time cmd"
_JOBS, _JOBS_FULL = "pid pgid sid tname time ucmd", "user=UID pid ppid pgid sid c stime tname time cmd"
_BSD = "pid tname stat bsdtime args"
_BSD_FORMATS = {
    "u": "user pid pcpu pmem vsz rss tname stat start_time bsdtime args",
    "j": "ppid pid pgid sid tname tpgid stat uid bsdtime args",
    "l": "f uid pid ppid priority ni vsz rss wchan stat tname bsdtime args",
    "v": "pid tname stat bsdtime majflt trs drs rss pmem args",
}
_UNIX_IGNORED, _BSD_IGNORED = "eAadNw", "axgwecn"
_LONG_IGNORED = ("all", "every", "deselect", "cols", "columns", "width", "rows", "lines")


@dataclass(slots=True)
class Selection:
    """What ``ps`` is asked for."""

    columns: list[tuple[str, Column]] = field(default_factory=list)
    """(title, column)."""
    sort: list[tuple[Column, bool]] = field(default_factory=list)
    """(column, descending), most significant first."""
    forest: str = ""
    """How children are indented: "" not at all, ``H`` by two spaces, ``f`` by an ASCII tree."""
    pids: set[int] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    users: set[str] = field(default_factory=set)
    threads: str = ""
    """``L`` or ``T`` if each thread has a row, which differ in the added columns."""

    def accepts(self, process: ProcessEntry) -> bool:
        """Return whether the process is selected; without a selection all are."""
        if not (self.pids or self.names or self.users):
            return True
        users = {COLUMNS[name].text(process) for name in ("user", "uid")}
        return process.pid in self.pids or process.name in self.names or bool(users & self.users)


def parse(arguments: str) -> Selection:
    """Return the selection.  Raises BadRequest that names the argument that is not supported."""
    return _Parser(arguments).run()


class _Parser:
    def __init__(self, arguments: str) -> None:
        self._words = arguments.split()
        self._selection = Selection()
        self._formats: set[str] = set()
        """Letters of format options; those of the BSD style in upper case with a ``B`` before."""
        self._bsd = False

    def run(self) -> Selection:
        while self._words:
            word = self._words.pop(0)
            if word.startswith("--"):
                self._long(word)
            elif word in ("-aux", "-auxw", "-auxww") or not word.startswith("-"):
                self._bsd_letters(word.removeprefix("-"))
            else:
                self._unix_letters(word[1:], word)
        if not self._selection.columns:
            self._add_columns(self._with_thread_columns(self._format()))
        return self._selection

    def _long(self, word: str) -> None:
        name, equals, value = word[2:].partition("=")
        if name == "forest":
            self._selection.forest = "f"
        elif name in ("sort", "format", "pid", "ppid", "user", "User"):
            self._with_value({"format": "o", "pid": "p", "user": "u", "User": "u"}.get(name, name), value, equals, word)
        elif name in _LONG_IGNORED:
            if name in _LONG_IGNORED[3:] and not equals:
                self._next(word)
        else:
            raise _unsupported(word)

    def _unix_letters(self, letters: str, word: str) -> None:
        for place, letter in enumerate(letters, 1):
            if letter in "oOpqCuUk":
                self._with_value(letter, letters[place:], letters[place:], word)
                return
            if letter == "H":
                self._selection.forest = "H"
            elif letter in "LT":
                self._selection.threads = letter
            elif letter == "x":
                self._bsd = True
            elif letter in "fFlj":
                self._formats.add(letter)
            elif letter not in _UNIX_IGNORED or not letter:
                raise _unsupported(word)
        if not letters:
            raise _unsupported(word)

    def _bsd_letters(self, word: str) -> None:
        if unsigned(word, _MAX_PID) is not None:
            self._selection.pids.add(int(word))
            return
        self._bsd = True
        for place, letter in enumerate(word, 1):
            if letter in "okpU":
                self._with_value({"k": "sort", "U": "u"}.get(letter, letter), word[place:], word[place:], word)
                return
            if letter == "f":
                self._selection.forest = "f"
            elif letter in _BSD_FORMATS:
                self._formats.add(f"B{letter}")
            elif letter not in _BSD_IGNORED:
                raise _unsupported(word)

    def _with_value(self, option: str, value: str, given: str, word: str) -> None:
        text = value if given else self._next(word)
        items = [item for item in text.replace(",", " ").split() if item]
        if not items:
            raise _unsupported(word)
        match option:
            case "o":
                self._add_columns(text.replace(",", " "))
            case "sort" | "k":
                self._selection.sort += [_sort_key(item) for item in items]
            case "p" | "q":
                self._selection.pids |= {_pid(item) for item in items}
            case "C":
                self._selection.names |= {item[:15] for item in items}
            case "u" | "U":
                self._selection.users |= set(items)
            case _:
                raise _unsupported(word)

    def _next(self, word: str) -> str:
        if not self._words:
            raise BadRequest(f"ps: the option {word} needs a value")
        return self._words.pop(0)

    def _add_columns(self, text: str) -> None:
        for item in text.split():
            name, equals, title = item.partition("=")
            column = _column(name.partition(":")[0])
            self._selection.columns.append((title if equals and title else column.title, column))

    def _with_thread_columns(self, columns: str) -> str:
        """Add the columns of ``-L`` (LWP, and NLWP in full formats) or ``-T`` (SPID) where procps has them."""
        words = columns.split()
        if self._selection.threads == "T":
            words.insert(words.index("pid") + 1, "spid")
        elif self._selection.threads == "L":
            words.insert(words.index("ppid" if "ppid" in words else "pid") + 1, "lwp")
            full = "pcpu" if "pcpu" in words else "c" if self._formats & {"f", "F"} else ""
            if full:
                words.insert(words.index(full) + 1, "nlwp")
        return " ".join(words)

    def _format(self) -> str:
        for letter, columns in _BSD_FORMATS.items():
            if f"B{letter}" in self._formats:
                return columns
        full = "f" in self._formats
        by_letter = (
            ("F", _EXTRA_FULL),
            ("l", _LONG_FULL if full else _LONG),
            ("j", _JOBS_FULL if full else _JOBS),
            ("f", _FULL),
        )
        for letter, columns in by_letter:
            if letter in self._formats:
                return columns
        return _BSD if self._bsd else _PLAIN


def _column(name: str) -> Column:
    if name not in COLUMNS:
        raise BadRequest(f'ps: unknown column "{name}"; use any of {", ".join(sorted(COLUMNS))}')
    return COLUMNS[name]


def _sort_key(text: str) -> tuple[Column, bool]:
    return _column(text.lstrip("+-")), text.startswith("-")


def _pid(text: str) -> int:
    number = unsigned(text, _MAX_PID)
    if number is None:
        raise BadRequest(f'ps: "{text}" is not a process id')
    return number


def _unsupported(word: str) -> BadRequest:
    return BadRequest(
        f'ps: the option "{word}" is not supported; use -ef, aux, -o COLUMNS, --sort, -H, -L, -T, -l, -j, -p, -C or -u'
    )
