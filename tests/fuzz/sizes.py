"""How much memory something holds."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable
from enum import Enum
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, ModuleType

NOBODYS = (type, ModuleType, FunctionType, BuiltinFunctionType, CodeType, FrameType, Enum)
"""Not counted: it is there anyway."""


def size_of(held: object, apart: Iterable[object] = ()) -> int:
    """Bytes of ``held`` and of all that it refers to, each thing once, without what is ``apart``."""
    seen, waiting, size_bytes = {id(one) for one in apart}, [held], 0
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, NOBODYS):
            continue
        seen.add(id(one))
        size_bytes += sys.getsizeof(one)
        waiting += gc.get_referents(one)
    return size_bytes
