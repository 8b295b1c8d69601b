"""Things by name: ``"ring"``, ``"knn:k=4"``, ``"~full & radius:r=3"``, ``"exponential.every(2)"``.

One table and one language for all kinds (``KINDS``): the parameters of a name are those of a constructor, read by their
annotated types. ``register`` and the entry points of installed packages add to what the house has. Nothing outside that
table can be reached by a name, so a configuration file from a stranger builds named things only.
"""

from gnncomm.registry.arguments import Remembers
from gnncomm.registry.describe import Description, Parameter, describe, described
from gnncomm.registry.kinds import KINDS, Kind, is_kind, kind_of_word
from gnncomm.registry.registry import Registry, listed
from gnncomm.registry.table import Added, added, make, register, registry_of, reread
from gnncomm.registry.values import parameters_of, plain_number, scalar, snake_case

__all__ = [
    "KINDS",
    "Added",
    "Description",
    "Kind",
    "Parameter",
    "Registry",
    "Remembers",
    "added",
    "describe",
    "described",
    "is_kind",
    "kind_of_word",
    "listed",
    "make",
    "parameters_of",
    "plain_number",
    "register",
    "registry_of",
    "reread",
    "scalar",
    "snake_case",
]
