"""The command serve: a store over HTTP, for browsers, viewers and other programs."""

from __future__ import annotations

import logging
from functools import partial
from secrets import token_urlsafe

import click

from zarrstore._cli.places import entries, opened, url_argument
from zarrstore._core.text import shown
from zarrstore.serve._running import LOOPBACK, Service, listening, serve_until_interrupted, url_of


@click.command()
@url_argument
@click.option("--host", default=LOOPBACK, show_default=True, help="The address of this machine to listen at.")
@click.option("--port", default=8000, show_default=True, help="The port; 0 is any that is free.")
@click.option("--origin", default="*", show_default=True, help="Whose pages may read it in a browser.")
@click.option("--token", envvar="ZARRSTORE_TOKEN", help="A secret that requests must send; - makes one up.")
@click.option("--workers", default=1, type=click.IntRange(min=1), help="How many processes serve.")
@click.option("--log", is_flag=True, help="Show each request in a line.")
def serve(url: str, host: str, port: int, origin: str, token: str | None, workers: int, log: bool) -> None:
    """Serve what is at URL over HTTP, read-only: a page to look at it, values, ranges and listings.

    Only programs on this machine reach it, unless --host names another address. Ctrl-C ends it.
    """
    token = token_urlsafe(18) if token == "-" else token or None
    with opened(url) as store, listening(host, port) as listener:
        if store.supports_listing:
            next(entries(store, url, "", deep=False, sizes=False))  # raises an error if nothing is there
        if not token and listener.getsockname()[0] not in (LOOPBACK, "::1"):
            click.echo("warning: whoever reaches this machine can read it: --token asks for one.", err=True)
        click.echo(f"serving {shown(str(store))} at {url_of(listener, token)}")
        service = Service(store, origin, token, partial(_show_log, logging.INFO if log else logging.WARNING))
        serve_until_interrupted(service, listener, workers)


def _show_log(level: int) -> None:
    log = logging.getLogger("zarrstore.serve")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(level)
