"""Flags as Docker's command line takes them: ``-it``, ``-p80:80``, ``--name x``, ``--name=x``, ``--rm=false``, ``--``.

Pure.  A small parser of our own, because argparse costs more time than a whole request and knows neither of Docker's
two habits: flags that end at the first plain word (``run IMAGE -x``), and an error that names flag and value.
"""

from __future__ import annotations

from netd.cli.errors import UsageFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from netd.cli.session import Session

_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


class Flag:
    """One flag.  ``values`` says what completion offers: a kind of object (``network`` …), or words after a colon."""

    __slots__ = ("also", "help", "kind", "metavar", "name", "short", "values")

    def __init__(
        self,
        name: str,
        short: str,
        help: str,
        metavar: str = "",
        *,
        kind: str = "text",
        also: tuple[str, ...] = (),
        values: str = "",
    ) -> None:
        self.name, self.short, self.help, self.metavar = name, short, help, metavar
        self.kind, self.also, self.values = kind, also, values

    @property
    def shown(self) -> str:
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"

    def refuse(self, value: str, reason: str) -> UsageFault:
        return UsageFault(f'invalid argument "{value}" for "{self.shown}" flag: {reason}')


def switch(name: str, short: str, help: str) -> Flag:
    return Flag(name, short, help, kind="switch")


def text(name: str, short: str, metavar: str, help: str, *, also: tuple[str, ...] = (), values: str = "") -> Flag:
    return Flag(name, short, help, metavar, also=also, values=values)


def many(name: str, short: str, metavar: str, help: str, *, also: tuple[str, ...] = (), values: str = "") -> Flag:
    return Flag(name, short, help, metavar, kind="many", also=also, values=values)


class Command:
    """A verb: how it is called, which flags it takes, and what does it.

    ``least`` and ``most`` bound the plain words; ``flags_first`` ends the flags at the first of them.  ``offers`` is
    what completion offers for each plain word, the last for all further ones.
    """

    __slots__ = ("flags", "flags_first", "least", "most", "offers", "run", "usage")

    def __init__(
        self,
        usage: str,
        run: Callable[[Session, Options], int],
        flags: Sequence[Flag] = (),
        *,
        least: int = 0,
        most: int | None = None,
        flags_first: bool = False,
        offers: tuple[str, ...] = (),
    ) -> None:
        self.usage, self.run, self.flags = usage, run, flags
        self.least, self.most, self.flags_first, self.offers = least, most, flags_first, offers


class Options:
    """What was given: the plain words in ``args``, the flags by their long names."""

    __slots__ = ("_flags", "_values", "args")

    def __init__(self, flags: dict[str, Flag], values: dict[str, list[str]], args: list[str]) -> None:
        self._flags, self._values, self.args = flags, values, args

    def given(self, name: str) -> bool:
        return name in self._values

    def on(self, name: str, default: bool = False) -> bool:
        return self._values[name][-1] in _TRUE if name in self._values else default

    def text(self, name: str, default: str = "") -> str:
        return self._values[name][-1] if name in self._values else default

    def many(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def number(self, name: str) -> int | None:
        """Return a whole number, or None when it was not given.  Raises UsageFault for anything else."""
        value = self.text(name)
        if not value:
            return None
        try:
            return integer(value)
        except ValueError as error:
            raise self._flags[name].refuse(value, str(error)) from None

    def converted(self, name: str, convert: Callable[[str], int]) -> int:
        """Return the text converted, 0 when it was not given.  The ValueError's words become the flag's error."""
        value = self.text(name)
        try:
            return convert(value) if value else 0
        except ValueError as error:
            raise self._flags[name].refuse(value, str(error)) from None

    def refuse(self, name: str, value: str, reason: str) -> UsageFault:
        return self._flags[name].refuse(value, reason)


def integer(text: str) -> int:
    """Return a whole number in ASCII digits with an optional minus sign.  Raises ValueError for anything else."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise ValueError("not a whole number")
    return int(text)


def parse(words: Sequence[str], flags: Sequence[Flag], flags_first: bool = False) -> Options:
    """Sort *words* into flags and plain words.  Raises UsageFault naming the word that does not fit."""
    return _Parser(flags).parse(words, flags_first)


class _Parser:
    def __init__(self, flags: Sequence[Flag]) -> None:
        self.long = {name: flag for flag in flags for name in (flag.name, *flag.also)}
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
            raise UsageFault(f"unknown flag: --{name}{_nearest(name, self.long)}")
        if flag.kind == "switch":
            self._take(flag, value if equals else "true")
        elif equals or rest:
            self._take(flag, value if equals else rest.pop())
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
                return self._take(flag, letters.removeprefix("=") if letters else rest.pop())
            if letters.startswith("="):
                return self._take(flag, letters[1:])
            self._take(flag, "true")
        return None

    def _take(self, flag: Flag, value: str) -> None:
        if flag.kind == "switch" and value not in _TRUE + _FALSE:
            raise flag.refuse(value, "say true or false")
        self.values.setdefault(flag.name, []).append(value)


def _is_flag(word: str) -> bool:
    return len(word) > 1 and word[0] == "-"


def _nearest(name: str, known: dict[str, Flag]) -> str:
    from difflib import get_close_matches

    found = get_close_matches(name, known, 1)
    return f" (did you mean --{found[0]}?)" if found else ""
