"""The program's frame: the table of commands, errors in one line, exit codes.

Exit codes: 0 for success, 1 for a failure, 2 for wrong usage, 130 for an interruption (Ctrl-C).
"""

from __future__ import annotations

import io
import re
import sys
from importlib import import_module
from typing import Any, TextIO

import click

from zarrstore import __version__
from zarrstore._core.secrets import without_secrets
from zarrstore.errors import StoreError

# Each command, where it is defined, and how its help begins, in the order of the help. A new command needs a
# function in a module of this package and a line here; the help imports none of them.
COMMANDS = {
    "ls": ("look:ls", "List keys and directories at URL, or below the directory PREFIX in it."),
    "tree": ("look:tree", "Draw the groups and arrays at URL, with the number and size of what is in each."),
    "du": ("look:du", "Add up sizes: of each directory one level below, and of everything."),
    "info": (
        "info:info",
        "Describe what is at URL, or below the directory PREFIX in it: the store, and the array or group.",
    ),
    "cat": ("cat:cat", "Write the value of KEY, as it is, to the standard output."),
    "check": (
        "examine:check",
        "Find what is wrong with the Zarr hierarchy at URL, or below the directory PREFIX in it.",
    ),
    "digest": (
        "examine:digest",
        "Print one digest of everything at URL, or below the directory PREFIX: DANDI's zarrsum.",
    ),
    "copy": ("transfer:copy", "Copy everything at SOURCE to TARGET."),
    "sync": ("transfer:sync", "Bring TARGET up to date with SOURCE: copy what is new or differs."),
    "move": ("transfer:move", "Move everything at SOURCE to TARGET."),
    "diff": ("transfer:diff", "Compare SOURCE and TARGET key by key."),
    "serve": (
        "serving:serve",
        "Serve what is at URL over HTTP, read-only: a page to look at it, values, ranges and listings.",
    ),
    "rm": ("change:rm", "Remove keys from the store at URL."),
    "repair": (
        "change:repair",
        "Rebuild the zip archive FILE, which was cut off, damaged or never closed, from its whole values.",
    ),
}
# Other names that people type.
ALIASES = {"cp": "copy", "mv": "move"}


class Program(click.Group):
    """A group of commands that are imported on demand, and that report errors in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        module, _, function = COMMANDS[name][0].partition(":")
        command: click.Command = getattr(import_module(f"zarrstore._cli.{module}"), function)
        if not any(parameter.name == "debug" for parameter in command.params):
            import_module("zarrstore._cli.reach").add_reach(command)
            command.params.append(_debug())
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the table of commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run the program; in standalone mode, as from a shell, exit with its code."""
        _state["debug"] = False
        _show_retries()
        try:
            extra["prog_name"] = "zarrstore"
            run: Any = super().main
            answer = run(*args, standalone_mode=False, **extra)
            code = answer if isinstance(answer, int) else 0
        except click.Abort as error:
            # click hides what interrupted a question, but keeps it as the context.
            cause = error.__cause__ or error.__context__
            if isinstance(cause, KeyboardInterrupt):
                _complain("interrupted.", cause)
                code = 130
            else:
                unasked = " Nobody answered: --yes says that you mean it." if cause is not None else ""
                _complain(f"aborted; nothing was changed.{unasked}", error)
                code = 1
        except click.ClickException as error:
            shown = io.StringIO()
            error.show(shown)
            click.echo(without_secrets(shown.getvalue()), err=True, nl=False)
            code = error.exit_code
        except Exception as error:
            _complain(_text(error), error)
            code = 1
        if standalone_mode:
            sys.exit(code)
        return code


_state = {"debug": False}


def _show_retries() -> None:
    """Show retries on a terminal; otherwise the program would seem to hang."""
    if not sys.stderr.isatty():
        return
    import logging

    class Above(logging.StreamHandler[TextIO]):
        def emit(self, record: logging.LogRecord) -> None:
            if (progress := sys.modules.get("zarrstore._cli.progress")) is not None:
                progress.make_way()
            super().emit(record)

    log = logging.getLogger("zarrstore.retry")
    if not log.handlers:
        handler = Above()
        handler.setFormatter(logging.Formatter("zarrstore: %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)


def _debug() -> click.Option:
    return click.Option(
        ["--debug"],
        is_flag=True,
        expose_value=False,
        callback=lambda ctx, param, value: _state.update(debug=_state["debug"] or value),
        help="Show the traceback of an error.",
    )


def _text(error: BaseException) -> str:
    """Return an error's text, with its type unless it is one of ours or of the system."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = str(error)
    return text if isinstance(error, (StoreError, OSError)) and text else f"{type(error).__name__}: {text}"


def _complain(text: str, error: BaseException) -> None:
    """Print an error as one line on stderr, after its traceback if --debug was given."""
    if _state["debug"]:
        import traceback

        click.echo(without_secrets("".join(traceback.format_exception(error))), err=True, nl=False)
    line = " ".join(" ".join([text, *getattr(error, "__notes__", ())]).split())
    line = without_secrets(line)
    line = re.sub(r"if_exists='(\w+)'", r"--if-exists \1", line)  # hints name the Python parameter
    click.echo(f"zarrstore: {line}", err=True)


@click.group(cls=Program, params=[_debug()], context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="zarrstore")
def program() -> None:
    """Look into stores of chunked arrays, copy them, and check them.

    A URL is the path of a folder or of a zip archive, file:///..., or (with the extra fsspec) anything
    that fsspec knows: s3://bucket/data.zarr, https://..., memory://...; for an archive behind a URL, or a
    directory in one, URL|zip:directory.
    """
