"""Commands that remove or mend: rm, repair."""

from __future__ import annotations

import click

from zarrstore._cli.places import entries, opened
from zarrstore._core.text import shown, size_text, values_text
from zarrstore.errors import KeyNotFoundError, UnsupportedOperationError


@click.command()
@click.argument("url")
@click.argument("paths", metavar="[KEY]...", nargs=-1)
@click.option("-r", "deep", is_flag=True, help="Remove directories with everything below them.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@click.option("--dry-run", is_flag=True, help="Name what would be removed, and remove nothing.")
def rm(url: str, paths: tuple[str, ...], deep: bool, yes: bool, dry_run: bool) -> None:
    """Remove keys from the store at URL; with -r and without a KEY, all of them."""
    if not paths and not deep:
        raise click.UsageError("name the keys to remove, or say -r to remove all that is at the URL")
    with opened(url, None if dry_run else "a") as store:
        if not store.supports_deletes:
            raise UnsupportedOperationError("this store can't remove values.", store=store)
        keys: list[str] = []
        directories: list[str] = []
        count = size = 0
        for path in paths or ("",):
            if path and store.exists_sync(path):
                if dry_run:
                    click.echo(shown(path))
                keys.append(path)
                count += 1
                size += store.getsize_sync(path)
            elif deep:
                directories.append(path)
                for entry in entries(store, url, path, deep=True, sizes=True):
                    if dry_run:
                        click.echo(shown(entry.key))
                    count += 1
                    size += entry.size or 0
            else:
                below = not store.is_empty_sync(path)
                raise KeyNotFoundError(
                    "this is a directory." if below else "there is no such value.",
                    store=store,
                    key=path,
                    hint="-r removes all that is below it." if below else None,
                )
        if dry_run:
            click.echo(f"would remove {values_text(count)} ({size_text(size)})", err=True)
            return
        what = ", ".join(shown(path) for path in paths) or "everything"
        question = f"Remove {what} ({values_text(count)}, {size_text(size)}) from {shown(str(store))}?"
        if not yes and not click.confirm(question, err=True):
            raise click.Abort
        for key in keys:
            store.delete_sync(key)
        for directory in directories:
            store.delete_dir_sync(directory)
    click.echo(f"removed {values_text(count)} ({size_text(size)})")


@click.command()
@click.argument("file")
@click.option("-o", "--output", help="Write the repaired archive here, and leave FILE as it is.")
def repair(file: str, output: str | None) -> int:
    """Rebuild the zip archive FILE, which was cut off, damaged or never closed, from its whole values.

    The new archive replaces the old one when it is written. The old one is kept beside it if anything may be
    lost. The exit code is 1 if anything is lost. An undamaged archive is left as it is.
    """
    from zarrstore.storage import ZipStore

    if "://" in file:
        raise click.UsageError("repair works on a local file: copy the archive to one first")
    report = ZipStore.repair(file, output=output)
    what = f"{values_text(report.saved)} ({size_text(report.saved_bytes)})"
    if not report.changed:
        click.echo(f"{shown(file)} is whole: {what}; nothing was changed")
        return 0
    click.echo(f"saved {what} in {shown(output or file)}; lost {len(report.lost) or 'nothing'}")
    for lost in report.lost:
        click.echo(f"lost {shown(lost.name) or '(no member)'} at byte {lost.offset:,}: {lost.reason}")
    if report.damaged is not None:
        click.echo(f"the damaged archive is kept as {shown(str(report.damaged))}")
    return 1 if report.lost else 0
