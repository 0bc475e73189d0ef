"""A store over HTTP: `app` is an ASGI application, `browse` shows a store's page from a notebook.

`_app` takes requests apart and keeps to what holds for all answers. `_values` answers with values, and
`_ranges` says with which part of one. `_listings` lists as S3 does, `_page` shows pages to people, and
`_running` starts servers. `_served` is what they share.
"""

from typing import TYPE_CHECKING

from zarrstore._lazy import attach

if TYPE_CHECKING:
    from zarrstore.serve._app import app
    from zarrstore.serve._running import browse

__all__ = ["app", "browse"]

_PLACES = {"app": "_app", "browse": "_running"}
__getattr__, __dir__ = attach(
    __name__, {name: f"{__name__}.{place}" for name, place in _PLACES.items()}, globals()
)
