"""Serves a store over HTTP: `app` is an ASGI application, `browse` shows a store's page from a notebook.

`_app` parses requests and sets what all answers have in common. `_values` answers with values, and `_ranges`
selects the part of a value. `_listings` lists as S3 does, `_page` makes pages for people, and `_running`
starts servers. `_served` is shared by all of them.
"""

from typing import TYPE_CHECKING

from zarrstore._lazy import attach

if TYPE_CHECKING:
    from zarrstore.serve._app import app
    from zarrstore.serve._running import browse

__all__ = ["app", "browse"]

_PLACES = {"app": "_app", "browse": "_running"}
if not TYPE_CHECKING:  # checkers would take any name for one of these
    __getattr__, __dir__ = attach(
        __name__, {name: f"{__name__}.{place}" for name, place in _PLACES.items()}, globals()
    )
