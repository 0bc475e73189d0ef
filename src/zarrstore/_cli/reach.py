"""Options for reaching URLs, the same for all commands that open one."""

from __future__ import annotations

import json
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from zarrstore.storage._places.reach import Reach, reaching

if TYPE_CHECKING:
    from collections.abc import Callable

_PLACES = ("url", "source", "target")


def _parsed(ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]) -> dict[str, object]:
    """Turn ``NAME=VALUE`` into options; a value that is valid JSON (a number, true, an object) is parsed."""
    found: dict[str, object] = {}
    for text in texts:
        name, mark, value = text.partition("=")
        if not (name and mark):
            raise click.BadParameter(f"{text!r} isn't NAME=VALUE")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _options() -> list[click.Option]:
    return [
        click.Option(
            ["--storage-option"],
            multiple=True,
            metavar="NAME=VALUE",
            callback=_parsed,
            help="An option of the library that opens URLs, such as key=... May be repeated.",
        ),
        click.Option(["--endpoint-url"], metavar="URL", help="The server of s3:// and gs:// URLs."),
        click.Option(["--profile"], metavar="NAME", help="The profile in AWS's configuration."),
        click.Option(["--region"], metavar="NAME", help="The region of s3:// URLs."),
        click.Option(["--anon"], is_flag=True, help="Send unsigned requests, for public data."),
        click.Option(
            ["--backend"], type=click.Choice(["obstore", "fsspec"]), help="The library that opens URLs."
        ),
    ]


def add_reach(command: click.Command) -> None:
    """Add these options to a command that opens URLs."""
    callback = command.callback
    if callback is not None and any(parameter.name in _PLACES for parameter in command.params):
        command.params += _options()
        command.callback = _within(callback)


def _within(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a command's function so that it takes these options, too."""

    @wraps(callback)
    def run(
        storage_option: dict[str, object],
        endpoint_url: str | None,
        profile: str | None,
        region: str | None,
        anon: bool,
        backend: Any,
        **options: Any,
    ) -> Any:
        reach = Reach(storage_option, endpoint_url, profile, region, anon, backend)
        if reach != Reach() and not any("://" in options.get(name, "") for name in _PLACES):
            raise click.UsageError("no URL is given, so nothing would use options of how one is reached")
        with reaching(reach):
            return callback(**options)

    return run
