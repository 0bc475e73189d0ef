"""Knowledge of zarr-python's stores, paths and buffers; the only module with it, and it never imports zarr.

zarr-python calls ``isinstance(x, Store)`` and ``isinstance(x, Buffer)``, which look at ``x.__class__``. Ours
is a property: it registers our base class with zarr-python's, once that module is loaded, and then returns
the true type. So nobody has to call anything, whichever of the two is imported first, and it works in worker
processes too. zarr-python's store path is a plain class, with which nothing can be registered. For paths the
property returns a class derived from both ours and theirs.
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
    # zarr-python's module may be only half imported: hence getattr.
    if name in _done:
        return
    theirs = getattr(sys.modules.get(module), name, None)
    if theirs is not None:
        if hasattr(theirs, "register"):
            theirs.register(base)
        _done.add(name)


def register_store(base: type) -> None:
    """Register our base store with zarr-python's, once that is loaded."""
    _register(base, "zarr.abc.store", "Store")


def register_buffer(base: type) -> None:
    """Register our base buffer with zarr-python's, once that is loaded."""
    _register(base, "zarr.core.buffer.core", "Buffer")


def register_nd_buffer(base: type) -> None:
    """Register our n-dimensional buffers with zarr-python's, if its class allows that."""
    _register(base, "zarr.core.buffer.core", "NDBuffer")


def path_class(kind: type[T]) -> type[T]:
    """Return the class that our paths report; once zarr-python is loaded, it derives from both."""
    theirs = getattr(sys.modules.get("zarr.storage"), "StorePath", None)
    if theirs is None or issubclass(kind, theirs):
        return kind
    made: type[T] | None = vars(kind).get("_seen_as")
    if made is None:
        made = new_class(kind.__name__, (kind, theirs))
        kind._seen_as = made  # type: ignore[attr-defined]  # one per class
    return made


def is_zarr_store(value: object) -> TypeGuard[TheirStore]:
    """Whether value is one of zarr-python's own stores; for ours, check our own class."""
    theirs = getattr(sys.modules.get("zarr.abc.store"), "Store", None)
    return theirs is not None and isinstance(value, theirs)


def is_zarr_path(value: object) -> TypeGuard[TheirPath]:
    """Whether value is one of zarr-python's store paths."""
    theirs = getattr(sys.modules.get("zarr.storage"), "StorePath", None)
    return theirs is not None and isinstance(value, theirs)


def is_gpu_buffer_class(kind: type) -> bool:
    """Whether a class is zarr-python's buffer in GPU memory, or a subclass of it."""
    theirs = getattr(sys.modules.get("zarr.core.buffer.gpu"), "Buffer", None)
    return theirs is not None and issubclass(kind, theirs)


def is_buffer(value: object) -> TypeIs[BufferLike]:
    """Whether value behaves like a buffer of ours or of zarr-python's."""
    return hasattr(value, "as_numpy_array") and hasattr(value, "as_array_like")


def zarr_prototype() -> BufferPrototype:
    """Return zarr-python's default prototype, which its stores expect."""
    made: BufferPrototype = sys.modules["zarr.core.buffer"].default_buffer_prototype()
    return made


def zarr_request(request: ByteRequest | None) -> theirs.ByteRequest | None:
    """Convert one of our byte requests for a store of zarr-python's."""
    if request is None:
        return None
    module = sys.modules["zarr.abc.store"]
    if hasattr(request, "suffix"):
        return cast("theirs.ByteRequest", module.SuffixByteRequest(request.suffix))
    if hasattr(request, "offset"):
        return cast("theirs.ByteRequest", module.OffsetByteRequest(request.offset))
    return cast("theirs.ByteRequest", module.RangeByteRequest(request.start, request.end))


def zarr_buffer(data: bytes) -> Buffer:
    """Put bytes into zarr-python's buffer class, the only one that its stores accept."""
    return zarr_prototype().buffer.from_bytes(data)
