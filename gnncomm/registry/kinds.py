"""What kinds of things have names, and where the table of each is."""

from __future__ import annotations

from dataclasses import dataclass

from gnncomm.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Kind:
    """A kind of things that have names."""

    name: str
    plural: str
    home: str
    """``module:attribute`` of its ``Registry``; a text, as this room stands below all of them."""

    @property
    def group(self) -> str:
        """The entry-point group in which packages name theirs."""
        return f"gnncomm.{self.plural}"


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("env", "envs", "gnncomm.environments:REGISTRY"),
        Kind("recipe", "recipes", "gnncomm.recipes:REGISTRY"),
        Kind("method", "methods", "gnncomm.methods:REGISTRY"),
        Kind("layer", "layers", "gnncomm.layers.names:REGISTRY"),
        Kind("topology", "topologies", "gnncomm.topology:REGISTRY"),
        Kind("scheduler", "schedulers", "gnncomm.schedule:REGISTRY"),
        Kind("codec", "codecs", "gnncomm.codec:REGISTRY"),
        Kind("channel", "channels", "gnncomm.channel:REGISTRY"),
        Kind("encoder", "encoders", "gnncomm.policy.names:ENCODERS"),
        Kind("memory", "memories", "gnncomm.policy.names:MEMORIES"),
        Kind("critic", "critics", "gnncomm.policy.names:CRITICS"),
        Kind("mixer", "mixers", "gnncomm.policy.names:MIXERS"),
        Kind("learner", "learners", "gnncomm.learn.names:LEARNERS"),
        Kind("loss", "losses", "gnncomm.methods.losses:REGISTRY"),
        Kind("logger", "loggers", "gnncomm.store.loggers:LOGGERS"),
        Kind("curriculum", "curricula", "gnncomm.learn.curriculum:REGISTRY"),
    )
}
"""By name, in the order in which they are shown."""


_WORDS = {
    **{kind.name: kind.name for kind in KINDS.values()},
    **{kind.plural: kind.name for kind in KINDS.values()},
    "environment": "env",
    "environments": "env",
}


def is_kind(word: str) -> bool:
    """Whether ``word`` names a kind, in the singular or plural."""
    return word in _WORDS


def kind_of_word(word: str) -> str:
    """The kind that ``word`` names, in the singular or plural.

    Raises:
        ConfigError: there is none.
    """
    if word not in _WORDS:
        raise ConfigError(f"Expected a kind of things, got {word!r}. {did_you_mean(word, _WORDS, KINDS)}")
    return _WORDS[word]
