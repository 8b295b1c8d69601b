"""Shapes in annotations: ``Float[Tensor, "T B N"]``, checked under pytest only.

jaxtyping is a development dependency. Where it is missing the names below stand in for it and mean nothing.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

__all__ = ["Bool", "Float", "Int"]

if TYPE_CHECKING or importlib.util.find_spec("jaxtyping") is not None:
    from jaxtyping import Bool, Float, Int
else:

    class _Unchecked:
        def __class_getitem__(cls, item: tuple[Any, str]) -> Any:
            return item[0]

    class Bool(_Unchecked): ...

    class Float(_Unchecked): ...

    class Int(_Unchecked): ...
