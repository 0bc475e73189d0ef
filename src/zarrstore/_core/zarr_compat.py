"""How zarr-python's stores, paths and buffers look: the one module that knows, without importing zarr.

zarr-python asks ``isinstance(x, Store)`` and ``isinstance(x, Buffer)``. Those questions look at
``x.__class__``; ours is a property that first registers our base class with zarr-python's, once its
module is loaded, and then returns the true type. So nobody has to call anything, in whichever order the
two are imported, and in worker processes too. Its store paths are of a plain class, which registers
nothing: there the property returns a class made of ours and theirs.
"""

from __future__ import annotations

import sys
from types import new_class
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from typing import TypeGuard

    import zarr.abc.store as theirs
    from typing_extensions import TypeIs
    from zarr.abc.store import Store as TheirStore
    from zarr.core.buffer import Buffer, BufferPrototype
    from zarr.storage import StorePath as TheirPath

    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import BufferLike

T = TypeVar("T")

_done: set[str] = set()


def _register(base: type, module: str, name: str) -> None:
    # Keyed by what is registered where; zarr-python's module may be half imported: hence getattr.
    if name in _done:
        return
    theirs = getattr(sys.modules.get(module), name, None)
    if theirs is not None:
        if hasattr(theirs, "register"):
            theirs.register(base)
        _done.add(name)


def register_store(base: type) -> None:
    """Make instances of our base store pass for zarr-python's stores, once it is loaded."""
    _register(base, "zarr.abc.store", "Store")


def register_buffer(base: type) -> None:
    """Make instances of our base buffer pass for zarr-python's buffers, once it is loaded."""
    _register(base, "zarr.core.buffer.core", "Buffer")


def register_nd_buffer(base: type) -> None:
    """Make our n-dimensional buffers pass for zarr-python's, where its class allows it."""
    _register(base, "zarr.core.buffer.core", "NDBuffer")


def path_class(kind: type[T]) -> type[T]:
    """Return what a path of ours says its class is: once it is loaded, zarr-python's is among the bases."""
    theirs = getattr(sys.modules.get("zarr.storage"), "StorePath", None)
    if theirs is None or issubclass(kind, theirs):
        return kind
    made: type[T] | None = vars(kind).get("_seen_as")
    if made is None:
        made = new_class(kind.__name__, (kind, theirs))
        kind._seen_as = made  # type: ignore[attr-defined]  # each class keeps its own
    return made


def is_zarr_store(value: object) -> TypeGuard[TheirStore]:
    """Whether value is one of zarr-python's own stores (ours are asked about by their own class)."""
    theirs = getattr(sys.modules.get("zarr.abc.store"), "Store", None)
    return theirs is not None and isinstance(value, theirs)


def is_zarr_path(value: object) -> TypeGuard[TheirPath]:
    """Whether value is one of zarr-python's store paths."""
    theirs = getattr(sys.modules.get("zarr.storage"), "StorePath", None)
    return theirs is not None and isinstance(value, theirs)


def is_gpu_buffer_class(kind: type) -> bool:
    """Whether a class is zarr-python's of buffers in a GPU's memory, or derives from that."""
    theirs = getattr(sys.modules.get("zarr.core.buffer.gpu"), "Buffer", None)
    return theirs is not None and issubclass(kind, theirs)


def is_buffer(value: object) -> TypeIs[BufferLike]:
    """Whether value behaves as a buffer of ours or of zarr-python's."""
    return hasattr(value, "as_numpy_array") and hasattr(value, "as_array_like")


def zarr_prototype() -> BufferPrototype:
    """zarr-python's default prototype: what its stores expect to be handed."""
    made: BufferPrototype = sys.modules["zarr.core.buffer"].default_buffer_prototype()
    return made


def zarr_request(request: ByteRequest | None) -> theirs.ByteRequest | None:
    """Translate one of our byte requests for a store of zarr-python's."""
    if request is None:
        return None
    module = sys.modules["zarr.abc.store"]
    if hasattr(request, "suffix"):
        return cast("theirs.ByteRequest", module.SuffixByteRequest(request.suffix))
    if hasattr(request, "offset"):
        return cast("theirs.ByteRequest", module.OffsetByteRequest(request.offset))
    return cast("theirs.ByteRequest", module.RangeByteRequest(request.start, request.end))


def zarr_buffer(data: bytes) -> Buffer:
    """Put bytes into a buffer of zarr-python's, whose stores take no other."""
    return zarr_prototype().buffer.from_bytes(data)
