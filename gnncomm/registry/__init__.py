"""Things by name: ``"ring"``, ``"knn:k=4"``, ``"~full & radius:r=3"``, ``"exponential.every(2)"``.

A name is a class name in snake_case or one of the class's ``aliases``; parameters are those of its constructor, read by
their annotated types. Every concrete class that a package's ``__init__`` imports is listed: there is no other table.
Nothing outside that table can be reached by a name, so a configuration file from a stranger builds listed things only.
"""

from gnncomm.registry.registry import CallableModule, Registry
from gnncomm.registry.values import plain_number, snake_case

__all__ = ["CallableModule", "Registry", "plain_number", "snake_case"]
