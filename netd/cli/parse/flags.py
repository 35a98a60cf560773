"""Parser for flags in Docker's syntax: ``-it``, ``-p80:80``, ``--name x``, ``--name=x``, ``--rm=false``, ``--``.

Pure.  Not argparse, whose import takes longer than a whole request, and which can neither end the flags at the first
argument (``run IMAGE -x``) nor name flag and value in errors as Docker does.
"""

from __future__ import annotations

from netd.cli.errors import UnknownFlag, UsageFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from netd.cli.session import Session

_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


class Flag:
    """One flag.

    ``values`` is the kind of its completions: ``network`` and others, or ``words:`` and a list.  ``keys`` are the known
    keys of values ``key=value``, with the kind of completion of each; empty if every key is accepted.
    """

    __slots__ = ("aliases", "help", "keys", "kind", "metavar", "name", "short", "values")

    def __init__(
        self,
        name: str,
        short: str,
        help: str,
        metavar: str = "",
        *,
        kind: str = "text",
        aliases: tuple[str, ...] = (),
        values: str = "",
        keys: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.short, self.help, self.metavar = name, short, help, metavar
        self.kind, self.aliases, self.values, self.keys = kind, aliases, values, keys or {}

    @property
    def display_name(self) -> str:
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"

    def refuse(self, value: str, reason: str) -> UsageFault:
        return UsageFault(f'invalid argument "{value}" for "{self.display_name}" flag: {reason}')


def switch(name: str, short: str, help: str, *, aliases: tuple[str, ...] = ()) -> Flag:
    return Flag(name, short, help, kind="switch", aliases=aliases)


def text(name: str, short: str, metavar: str, help: str, *, aliases: tuple[str, ...] = (), values: str = "") -> Flag:
    return Flag(name, short, help, metavar, aliases=aliases, values=values)


def many(name: str, short: str, metavar: str, help: str, *, aliases: tuple[str, ...] = (), values: str = "") -> Flag:
    return Flag(name, short, help, metavar, kind="many", aliases=aliases, values=values)


class Command:
    """A verb: usage line, function and flags.

    ``min_args`` and ``max_args`` bound the number of arguments; with ``flags_first`` flags end at the first argument.
    ``completions`` is the kind of completion for each argument; the last applies to all further arguments.
    """

    __slots__ = ("completions", "flags", "flags_first", "max_args", "min_args", "run", "usage")

    def __init__(
        self,
        usage: str,
        run: Callable[[Session, Options], int],
        flags: Sequence[Flag] = (),
        *,
        min_args: int = 0,
        max_args: int | None = None,
        flags_first: bool = False,
        completions: tuple[str, ...] = (),
    ) -> None:
        self.usage, self.run, self.flags = usage, run, flags
        self.min_args, self.max_args, self.flags_first, self.completions = min_args, max_args, flags_first, completions


class Options:
    """A parsed command line: arguments in ``args``, flags by their long names.

    ``outer`` holds the flags of ``compose``, which stand before its verb.
    """

    __slots__ = ("_flags", "_values", "args", "outer")

    def __init__(self, flags: dict[str, Flag], values: dict[str, list[str]], args: list[str]) -> None:
        self._flags, self._values, self.args = flags, values, args
        self.outer: Options | None = None

    def given(self, name: str) -> bool:
        return name in self._values

    def on(self, name: str, default: bool = False) -> bool:
        return self._values[name][-1] in _TRUE if name in self._values else default

    def text(self, name: str, default: str = "") -> str:
        return self._values[name][-1] if name in self._values else default

    def many(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def number(self, name: str) -> int | None:
        """Return the flag's integer, or None if the flag was not given.  Raises UsageFault for other text."""
        value = self.text(name)
        if not value:
            return None
        try:
            return integer(value)
        except ValueError as error:
            raise self._flags[name].refuse(value, str(error)) from None

    def converted(self, name: str, convert: Callable[[str], int]) -> int:
        """Return the flag's converted text, or 0 if it was not given.  Raises UsageFault with the ValueError's text."""
        value = self.text(name)
        try:
            return convert(value) if value else 0
        except ValueError as error:
            raise self._flags[name].refuse(value, str(error)) from None

    def keys(self, name: str) -> Mapping[str, str]:
        """Return the known keys of a flag with values ``key=value``."""
        return self._flags[name].keys

    def refuse(self, name: str, value: str, reason: str) -> UsageFault:
        return self._flags[name].refuse(value, reason)


def integer(text: str) -> int:
    """Return the integer of ASCII digits with an optional minus sign.  Raises ValueError for other text."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise ValueError("not a whole number")
    return int(text)


def parse(words: Sequence[str], flags: Sequence[Flag], flags_first: bool = False) -> Options:
    """Split *words* into flags and arguments.  Raises UsageFault that names the invalid word."""
    return _Parser(flags).parse(words, flags_first)


class _Parser:
    def __init__(self, flags: Sequence[Flag]) -> None:
        self.long = {name: flag for flag in flags for name in (flag.name, *flag.aliases)}
        self.short = {flag.short: flag for flag in flags if flag.short}
        self.values: dict[str, list[str]] = {}

    def parse(self, words: Sequence[str], flags_first: bool) -> Options:
        args: list[str] = []
        rest = list(reversed(words))
        while rest:
            word = rest.pop()
            if word == "--" or (flags_first and not _is_flag(word)):
                args += ([] if word == "--" else [word]) + rest[::-1]
                break
            if word.startswith("--"):
                self._long(word[2:], rest)
            elif _is_flag(word):
                self._short(word, rest)
            else:
                args.append(word)
        return Options({flag.name: flag for flag in self.long.values()}, self.values, args)

    def _long(self, word: str, rest: list[str]) -> None:
        name, equals, value = word.partition("=")
        flag = self.long.get(name)
        if flag is None:
            raise UnknownFlag(name, _suggestion(name, self.long))
        if flag.kind == "switch":
            self._store(flag, value if equals else "true")
        elif equals or rest:
            self._store(flag, value if equals else rest.pop())
        else:
            raise UsageFault(f"flag needs an argument: --{name}")

    def _short(self, word: str, rest: list[str]) -> None:
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            flag = self.short.get(letter)
            if flag is None:
                raise UsageFault(f"unknown shorthand flag: {letter!r} in {word}")
            if flag.kind != "switch":
                if not letters and not rest:
                    raise UsageFault(f"flag needs an argument: {letter!r} in {word}")
                return self._store(flag, letters.removeprefix("=") if letters else rest.pop())
            if letters.startswith("="):
                return self._store(flag, letters[1:])
            self._store(flag, "true")
        return None

    def _store(self, flag: Flag, value: str) -> None:
        if flag.kind == "switch" and value not in _TRUE + _FALSE:
            raise flag.refuse(value, "use true or false")
        self.values.setdefault(flag.name, []).append(value)


def _is_flag(word: str) -> bool:
    return len(word) > 1 and word[0] == "-"


def _suggestion(name: str, known: dict[str, Flag]) -> str:
    from netd.nearest_names import nearest

    found = nearest(name, known)
    return f" (did you mean --{found}?)" if found else ""
