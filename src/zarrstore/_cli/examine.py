"""Commands that examine a hierarchy: check, digest."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, get_args

import click

from zarrstore._check import check_store_sync, digest_store_sync
from zarrstore._check.report import Kind
from zarrstore._cli.places import (
    cluster_at,
    dask_option,
    json_option,
    opened,
    prefix_argument,
    quiet_option,
    url_argument,
)
from zarrstore._cli.progress import make_way, progress_on
from zarrstore._core.text import shown, size_text, values_text

if TYPE_CHECKING:
    from zarrstore._check import CheckReport, Problem


@click.command()
@url_argument
@prefix_argument
@click.option("--quick", is_flag=True, help="Check documents, names and sizes, but read no chunks.")
@click.option("--complete", is_flag=True, help="Report chunks that aren't stored as problems too.")
@click.option(
    "--ignore",
    multiple=True,
    type=click.Choice(get_args(Kind)),
    help="Leave out this kind of problem. May be repeated.",
)
@click.option("--against", metavar="FILE", help="Compare with a manifest by digest or md5sum as well.")
@dask_option
@quiet_option
@json_option
def check(url: str, prefix: str, dask: str | None, quiet: bool, as_json: bool, **options: Any) -> int:
    """Find what is wrong with the Zarr hierarchy at URL, or below the directory PREFIX in it.

    Documents, names of chunks, sizes, values and shards are checked against Zarr's formats 2 and 3. Each
    problem is a line: its kind, the key, the chunk, and what is wrong. The exit code is 1 if there is one.
    """
    with opened(url) as store, cluster_at(dask) as client, progress_on(quiet=quiet) as progress:
        options |= {"found": None if as_json else _show, "progress": progress, "client": client}
        report = check_store_sync(store, prefix=prefix, **options)
    if as_json:
        problems = [problem._asdict() for problem in report.problems]
        click.echo(json.dumps({**asdict(report), "problems": problems}))
    else:
        _summarize(report)
    return 1 if report else 0


def _show(problem: Problem) -> None:
    make_way()
    chunk = "" if problem.chunk is None else f" (chunk {', '.join(map(str, problem.chunk)) or 'of a scalar'})"
    click.echo(f"{problem.kind:<12}  {shown(problem.key) or '(root)'}{chunk}: {shown(problem.text)}")


def _summarize(report: CheckReport) -> None:
    for codec, count in report.unchecked.items():
        click.echo(f"not decoded: {values_text(count)} of the codec {shown(codec)}", err=True)
    count = len(report.problems)
    said = f"{count:,} problem{'s' * (count != 1)}" if count else "no problem"
    click.echo(
        f"{said} in {report.groups:,} groups and {report.arrays:,} arrays with {report.chunks:,} chunks "
        f"({size_text(report.bytes)} in all), of which {report.values_read:,} were read",
        err=True,
    )


@click.command()
@url_argument
@prefix_argument
@click.option(
    "--manifest", metavar="FILE", help="Write the MD5 of each value to FILE, in the format of md5sum."
)
@click.option("--etags/--no-etags", default=True, help="Use the ETags of a listing where they are MD5s.")
@dask_option
@quiet_option
@json_option
def digest(url: str, prefix: str, dask: str | None, quiet: bool, as_json: bool, **options: Any) -> None:
    """Print one digest of everything at URL, or below the directory PREFIX: DANDI's zarrsum.

    Equal keys and values have the same digest wherever they are kept. check --against compares with a
    manifest.
    """
    with opened(url) as store, cluster_at(dask) as client, progress_on(quiet=quiet) as progress:
        found = digest_store_sync(store, prefix=prefix, progress=progress, client=client, **options)
    click.echo(json.dumps(asdict(found)) if as_json else str(found))
