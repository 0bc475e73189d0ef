"""Commands that transfer values between stores, or compare two: copy, sync, move, diff."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import click

from zarrstore._cli.places import cluster_at, dask_option, opened, quiet_option
from zarrstore._cli.progress import progress_on
from zarrstore._copy import copy_store_sync, diff_stores_sync, move_store_sync
from zarrstore._copy.options import Options
from zarrstore._copy.single import copy_value_sync
from zarrstore._core.text import shown, size_text, values_text
from zarrstore.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from zarrstore._copy import CopyReport, Difference
    from zarrstore.abc.store import Store


def _concurrency(
    ctx: click.Context, param: click.Parameter, text: str | None
) -> int | tuple[int, int] | None:
    """Parse a number, or two separated by a comma."""
    if text is None:
        return None
    try:
        numbers = tuple(map(int, text.split(",")))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 2) or min(numbers) < 1:
        raise click.BadParameter(f"{text!r} is neither a number of at least 1 nor two of them, as 64,8")
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


def _together(*options: Callable[..., Any]) -> Callable[..., Any]:
    """Combine decorators into one, in their order."""
    return lambda command: reduce(lambda made, option: option(made), reversed(options), command)


_places = _together(
    click.argument("source"),
    click.argument("target"),
    click.option("--prefix", default="", help="Copy only what is below this directory of SOURCE."),
    click.option("--target-prefix", default="", help="Copy to below this directory of TARGET."),
)
_selection = _together(
    click.option("--include", multiple=True, metavar="GLOB", help="Only keys that match. May be repeated."),
    click.option(
        "--exclude", multiple=True, metavar="GLOB", help="Leave out keys that match. May be repeated."
    ),
    click.option(
        "--exclude-litter", is_flag=True, help="Leave out .DS_Store, ._*, .nfs*, Thumbs.db and the like."
    ),
)
_if_exists = _together(
    click.option(
        "--if-exists",
        type=click.Choice(["raise", "skip", "replace", "update", "resume"]),
        default="raise",
        show_default=True,
        help="What to do about keys that TARGET has already: fail before anything is written; skip them; "
        "replace all, those that differ (update), or those that differ in size (resume).",
    ),
    click.option(
        "--resume", is_flag=True, help="Continue an interrupted copy: the same as --if-exists resume."
    ),
)
_checksum = click.option(
    "--checksum",
    is_flag=True,
    help="Compare values of the same size by their bytes, whatever their times are.",
)
_delete = _together(
    click.option("--delete", is_flag=True, help="Remove keys that only TARGET has. Asks first."),
    click.option("-y", "--yes", is_flag=True, help="Don't ask."),
)
_running = _together(
    click.option("--verify", is_flag=True, help="Read every value back and compare it with the source."),
    click.option("--dry-run", is_flag=True, help="Check and count, but change nothing."),
    click.option(
        "--concurrency",
        callback=_concurrency,
        metavar="N[,M]",
        help="How many values to copy in parallel (N to read, M to write). By default 64 over a network, "
        "else 8.",
    ),
    quiet_option,
)


@click.command()
@_places
@_if_exists
@_checksum
@_delete
@_selection
@dask_option
@click.option(
    "--as-file",
    is_flag=True,
    help="Copy one value, such as a zip archive in a bucket, to the name that TARGET gives.",
)
@_running
def copy(source: str, target: str, as_file: bool, **options: Any) -> int:
    """Copy everything at SOURCE to TARGET.

    Metadata documents are written last, so that nobody opens a hierarchy whose chunks aren't there yet.
    Continue an interrupted copy with --resume. Skipped values whose size differs in TARGET are named, and the
    exit code is 1 then.
    """
    if as_file:
        return _copy_file(source, target, options)
    return _run(copy_store_sync, ("copy", "copied"), source, target, options)


def _copy_file(source: str, target: str, options: dict[str, Any]) -> int:
    """Copy one value; each place is split into a store and a key in it."""
    allowed = ("verify", "dry_run", "concurrency", "checksum", "if_exists")
    if any(value for name, value in options.items() if name not in (*allowed, "quiet", "resume", "yes")):
        raise click.UsageError("--as-file copies one value, so nothing selects, removes or shares out")
    if options["resume"]:
        options["if_exists"] = "resume"
    here, _, key = source.rpartition("/")
    there, _, name = target.rpartition("/")
    dry_run = options["dry_run"]
    with (
        opened(here or _root(source)) as store,
        opened(there or _root(target), "a") as goal,
        progress_on(quiet=options["quiet"] or dry_run) as progress,
    ):
        asked = Options(**{name: options[name] for name in allowed}, progress=progress)
        report = copy_value_sync(store, key, goal, name or key, asked)
    return _tell(report, "would copy" if dry_run else "copied", dry_run=dry_run)


def _root(place: str) -> str:
    """Return the directory of a name without one."""
    return "/" if place.startswith("/") else "."


@click.command()
@_places
@_checksum
@_delete
@_selection
@dask_option
@_running
def sync(source: str, target: str, **options: Any) -> int:
    """Bring TARGET up to date with SOURCE: copy what is new or differs.

    Two values count as equal if they have the same size and TARGET's isn't older. With --delete, keys that
    SOURCE doesn't have are removed from TARGET.
    """
    return _run(copy_store_sync, ("copy", "copied"), source, target, {**options, "if_exists": "update"})


@click.command()
@_places
@_if_exists
@_checksum
@_selection
@_running
def move(source: str, target: str, **options: Any) -> int:
    """Move everything at SOURCE to TARGET.

    Values are removed from SOURCE when all are at TARGET. Continue an interrupted move with --resume.
    """
    return _run(move_store_sync, ("move", "moved"), source, target, options)


def _run(
    call: Callable[..., CopyReport],
    verb: tuple[str, str],
    source: str,
    target: str,
    options: dict[str, Any],
) -> int:
    """Call a function that copies, and print what it did."""
    quiet, asks = options.pop("quiet"), not options.pop("yes", False)
    if options.pop("resume", False):
        options["if_exists"] = "resume"
    dry_run, address = options["dry_run"], options.pop("dask", None)
    with opened(target, "a") as goal:
        if not goal.capabilities.shared:
            raise RefusedError(
                "this target is in the program's own memory: nothing would be left of the copy.", store=goal
            )
        if options.get("delete") and asks and not dry_run:
            _ask(source, goal, options)
        with cluster_at(address) as client, progress_on(quiet=quiet or dry_run) as progress:
            if client is not None:
                options["client"] = client
            report = call(source, goal, progress=progress, **options)
    return _tell(report, f"would {verb[0]}" if dry_run else verb[1], dry_run=dry_run)


def _ask(source: str, goal: Store, options: dict[str, Any]) -> None:
    """If the target has keys that the source lacks, ask whether to remove them."""
    wanted = {**options, "dry_run": True, "verify": False}
    count = copy_store_sync(source, goal, **wanted).deleted
    question = f"Remove {values_text(count)} that the source doesn't have from {shown(str(goal))}?"
    if count and not click.confirm(question, err=True):
        raise click.Abort


def _tell(report: CopyReport, done: str, *, dry_run: bool) -> int:
    """Print what was done; return the exit code."""
    speed = f" in {report.seconds:.2f} s, {size_text(report.bytes / report.seconds)}/s"
    more = "".join(
        f", {count:,} {what}"
        for count, what in ((report.replaced, "replaced"), (report.deleted, "removed"))
        if count
    )
    click.echo(
        f"{done} {values_text(report.keys)} ({size_text(report.bytes)}){'' if dry_run else speed}; "
        f"{report.skipped:,} skipped, {report.verified:,} verified{more}"
    )
    for key in report.differing:
        click.echo(f"skipped, though the target's value has another size: {shown(key)}", err=True)
    return 1 if report.differing else 0


@click.command()
@_places
@_checksum
@_selection
@click.option("-a", "--all", "show_all", is_flag=True, help="Show equal keys too.")
def diff(source: str, target: str, show_all: bool, **options: Any) -> int:
    """Compare SOURCE and TARGET key by key.

    Keys that only SOURCE has are marked +, keys that only TARGET has -, values that differ *, and values that
    can't be read !. The exit code is 1 if there are any. Two values count as equal if they have the same size
    and TARGET's isn't older.
    """

    def show(difference: Difference) -> None:
        if show_all or difference.mark != "=":
            click.echo(f"{difference.mark} {shown(difference.key)}")

    report = diff_stores_sync(source, target, found=show, **options)
    click.echo(
        f"{len(report.differences):,} differ, {values_text(report.equal)} equal"
        if report
        else f"no difference in {values_text(report.equal)}",
        err=True,
    )
    return 1 if report else 0
