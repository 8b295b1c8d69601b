"""``Settings``: what can be chosen of an environment, as a frozen dataclass whose fields say what they accept.

    @dataclass(frozen=True)
    class RelaySettings(Settings):
        num_agents: int = integer(4, 1, doc="Length of the line.")
        num_symbols: int = integer(8, 2)
        seen: str = choice("always", ("always", "first"))

``doc`` says what a setting means: the docstring of the environment ends with what its settings say.

A field that is None by default may be None, and gets its value in ``resolve``: it is typed as it is read. Bounds may
depend on the fields before: ``vision: int = integer(0, 0, lambda own: own.dim)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from gnncomm import checks


def _field(default: Any, take: Callable[[str, Any, Any], object], doc: str) -> Any:
    return field(default=default, metadata={"take": take, "doc": doc})


def checked(default: Any, check: Callable[[str, Any, Any], object], doc: str = "") -> Any:
    """What ``check(name, value, settings)`` does not refuse with a ``ConfigError``; kept as it was given."""

    def take(name: str, value: object, own: Any) -> object:
        check(name, value, own)
        return value

    return _field(default, take, doc)


def integer(
    default: int | None,
    least: int,
    most: int | Callable[[Any], int] | None = None,
    optional: bool = False,
    doc: str = "",
) -> Any:
    """A whole number in ``[least, most]``; None (as text: none), too, if ``optional``."""

    def take(name: str, value: object, own: Any) -> int | None:
        bound = most(own) if callable(most) else most
        return None if optional and value in (None, "none") else checks.integer(name, value, least, bound)

    return _field(default, take, doc)


def number(default: float | None, least: float = -math.inf, most: float = math.inf, doc: str = "") -> Any:
    """A finite number in ``[least, most]``."""
    return _field(default, lambda name, value, own: checks.number(name, value, least, most), doc)


def flag(default: bool, doc: str = "") -> Any:
    """True or False."""
    return _field(default, lambda name, value, own: checks.flag(name, value), doc)


def choice(default: str, options: Sequence[str], doc: str = "") -> Any:
    """One of some names."""
    return _field(default, lambda name, value, own: checks.choice(name, value, options), doc)


@dataclass(frozen=True)
class Settings:
    """Checked when it is made; see above.

    Raises:
        ConfigError: A value out of range; names the field.
    """

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None or each.default is not None:
                self._put(**{each.name: each.metadata["take"](each.name, value, self)})
        self.resolve()

    def resolve(self) -> None:
        """Gives what is None its value, with ``_put``, and checks what concerns several fields."""

    def _put(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def config(self) -> dict[str, Any]:
        """The values, JSON-able; the same settings can be made of them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
