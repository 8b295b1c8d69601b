"""Recursive descent over ``name:a=1,b=2``, operators, prefixes, suffixes, parentheses and ``[a; b]``."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from gnncomm.errors import ConfigError

T = TypeVar("T")

MAX_LETTERS, MAX_PARTS, MAX_DEPTH = 1000, 64, 32
"""Of one text: letters, things it is built of (operators count), and parentheses within parentheses."""


@dataclass(frozen=True)
class Grammar(Generic[T]):
    """The symbols of a language of things, and what each builds."""

    levels: tuple[str, ...]
    """Operators that join two things, loosest first."""
    prefixes: tuple[str, ...]
    suffixes: tuple[str, ...]
    brackets: bool
    known: list[str]
    make: Callable[[str, Mapping[str, str]], T]
    join: Callable[[str, T, T], T]
    wrap: Callable[[str, T], T]
    call: Callable[[str, T, list[str]], T]
    line_up: Callable[[list[T], Mapping[str, str]], T]

    @property
    def symbols(self) -> tuple[str, ...]:
        return (*self.levels, *self.prefixes, "(", ")", *("[];" if self.brackets else ""))

    @property
    def suffix(self) -> str:
        """A regular expression for ``.word(values)``."""
        return rf"\.(?:{'|'.join(map(re.escape, self.suffixes))})\([^()]*\)" if self.suffixes else r"(?!)"


def parse(text: str, grammar: Grammar[T]) -> T:
    """The thing that ``text`` describes.

    Raises:
        ConfigError: not a sentence of this grammar, or one that is longer or deeper than ``MAX_LETTERS``,
            ``MAX_PARTS`` and ``MAX_DEPTH`` allow.
    """
    if len(text) > MAX_LETTERS:
        raise ConfigError(f"Cannot read {text[:40]!r}...: expected at most {MAX_LETTERS} letters, got {len(text):,}.")
    return _Parser(text, grammar).whole()


class _Parser(Generic[T]):
    def __init__(self, text: str, grammar: Grammar[T]) -> None:
        self.text = text
        self.grammar = grammar
        self.parts = self.depth = 0
        symbols = "|".join(map(re.escape, grammar.symbols))
        pieces = re.split(rf"({grammar.suffix}|{symbols})", text)
        self.tokens = [piece.strip() for piece in pieces if piece.strip()]

    def whole(self) -> T:
        thing = self.joined(0)
        if self.tokens:
            raise self.error(self.tokens[0])
        return thing

    def built(self, thing: T) -> T:
        """``thing``, counted."""
        self.parts += 1
        if self.parts > MAX_PARTS:
            raise ConfigError(f"Cannot read {self.text[:40]!r}...: expected at most {MAX_PARTS} parts, got more.")
        return thing

    def next_is(self, *wanted: str) -> bool:
        return bool(self.tokens) and self.tokens[0] in wanted

    def joined(self, level: int) -> T:
        if level == len(self.grammar.levels):
            return self.prefixed()
        symbol = self.grammar.levels[level]
        thing = self.joined(level + 1)
        while self.next_is(symbol):
            self.tokens.pop(0)
            thing = self.built(self.grammar.join(symbol, thing, self.joined(level + 1)))
        return thing

    def prefixed(self) -> T:
        if self.next_is(*self.grammar.prefixes):
            symbol = self.tokens.pop(0)
            with self.deeper():
                return self.built(self.grammar.wrap(symbol, self.prefixed()))
        thing = self.single()
        while self.tokens and re.fullmatch(self.grammar.suffix, self.tokens[0]):
            word, _, values = self.tokens.pop(0)[1:-1].partition("(")
            settings = [value.strip() for value in values.split(",") if value.strip()]
            thing = self.built(self.grammar.call(word, thing, settings))
        return thing

    def single(self) -> T:
        token = self.tokens.pop(0) if self.tokens else ""
        if token == "(":
            with self.deeper():
                thing = self.joined(0)
            self.close(")")
            return thing
        if token == "[" and self.grammar.brackets:
            with self.deeper():
                return self.built(self.lined_up())
        if not token or token in self.grammar.symbols or re.fullmatch(self.grammar.suffix, token):
            raise self.error(token or "nothing")
        name, colon, rest = token.partition(":")
        return self.built(self.grammar.make(name.strip(), self.settings(rest) if colon else {}))

    @contextlib.contextmanager
    def deeper(self) -> Iterator[None]:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ConfigError(f"Cannot read {self.text[:40]!r}...: expected at most {MAX_DEPTH} levels, got more.")
        yield
        self.depth -= 1

    def lined_up(self) -> T:
        parts = [self.joined(0)]
        while self.next_is(";"):
            self.tokens.pop(0)
            parts.append(self.joined(0))
        self.close("]")
        has_settings = bool(self.tokens) and self.tokens[0].startswith(":")
        return self.grammar.line_up(parts, self.settings(self.tokens.pop(0)[1:]) if has_settings else {})

    def close(self, symbol: str) -> None:
        if not self.next_is(symbol):
            raise self.error(f"a missing '{symbol}'")
        self.tokens.pop(0)

    def settings(self, text: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for part in text.split(","):
            key, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals or not key or not value or key in found:
                raise self.error(part)
            found[key] = value
        return found

    def error(self, found: str) -> ConfigError:
        grammar = self.grammar
        forms = ["name or name:parameter=value,..."]
        forms += [f"A {symbol} B" for symbol in grammar.levels]
        forms += [f"{symbol}A" for symbol in grammar.prefixes]
        forms += [f"A.{word}(...)" for word in grammar.suffixes]
        forms += ["[A; B]"] if grammar.brackets else []
        quoted = found if found.startswith("a missing") else repr(found)
        return ConfigError(
            f"Cannot read {self.text!r}: expected {', or '.join(forms)}, got {quoted}. "
            f"Known: {', '.join(grammar.known)}."
        )
