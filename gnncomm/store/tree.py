"""Nested state (as ``Optimizer.state_dict()`` gives it) as named tensors and a JSON value, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gnncomm.errors import CheckpointError, CheckpointMismatchError

_TENSOR = "tensor"
_PAIRS = "pairs"
_TUPLE = "tuple"
_LIST = "list"


def split_tree(tree: Any) -> tuple[dict[str, Tensor], Any]:
    """Take the tensors out of nested dicts, lists and tuples.

    Returns:
        The tensors under dotted names such as ``state.0.exp_avg``, and a JSON value that holds the rest: keys keep
        their type (text, int, bool or None), tuples stay tuples. ``join_tree`` is the inverse.

    Raises:
        CheckpointError: a value or key that neither a tensor file nor JSON holds.
    """
    tensors: dict[str, Tensor] = {}
    return tensors, _split(tree, "", tensors)


def join_tree(tensors: Mapping[str, Tensor], skeleton: Any) -> Any:
    """Put the tensors of ``split_tree`` back in their places.

    Raises:
        CheckpointMismatchError: a tensor that the skeleton asks for is missing.
    """
    if not isinstance(skeleton, dict):
        return skeleton
    ((kind, content),) = skeleton.items()
    if kind == _TENSOR:
        if content not in tensors:
            raise CheckpointMismatchError(f"Expected a tensor {content!r}, got {', '.join(sorted(tensors))}.")
        return tensors[content]
    if kind == _PAIRS:
        return {key: join_tree(tensors, value) for key, value in content}
    items = [join_tree(tensors, item) for item in content]
    return tuple(items) if kind == _TUPLE else items


def _split(tree: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, Tensor):
        if path in tensors:
            raise CheckpointError(f"Two tensors would be called {path!r}: a key with a dot, or 1 beside '1'.")
        tensors[path] = tree
        return {_TENSOR: path}
    prefix = f"{path}." if path else ""
    if isinstance(tree, Mapping):
        for key in tree:
            if type(key) not in (str, int, bool, type(None)):
                raise CheckpointError(f"{path or 'state'}: expected keys of text or int, got {key!r}.")
        return {_PAIRS: [[key, _split(value, f"{prefix}{key}", tensors)] for key, value in tree.items()]}
    if type(tree) in (list, tuple):
        kind = _TUPLE if type(tree) is tuple else _LIST
        return {kind: [_split(item, f"{prefix}{i}", tensors) for i, item in enumerate(tree)]}
    if type(tree) in (str, int, bool, float, type(None)):
        return tree
    raise CheckpointError(
        f"{path or 'state'}: expected tensors, text, numbers, lists or dicts, got {type(tree).__name__}."
    )
