#!/usr/bin/env python3
"""What the whole process costs: size, start, idle, an hour of traffic, cores.

    benches/process/run.py                  all of it, some five minutes
    benches/process/run.py idle             one part: size, start, idle, traffic, cores
    benches/process/run.py --tunnelog PATH  another build than target/release

Kinesis is a small server in this process (kinesis.py), so what is measured is the program's own. Needs Python 3.9 and
Linux. Fails where a size is above its goal; times are printed beside theirs and fail nothing: a busy machine makes them.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kinesis import Stream

ROOT = Path(__file__).resolve().parent.parent.parent
MIB = 1024 * 1024

PIPELINE = """\
sources: {{ main: {{ kinesis: {{ stream: vpn-logs, start: trim_horizon }} }} }}
sinks: {{ out: {{ file: {{ path: "{folder}/events.ndjson" }} }} }}
dead_letters: {{ file: {{ path: "{folder}/dead.ndjson" }} }}
checkpoint: {{ file: "{folder}/state.redb" }}
"""

STARTS = 15
IDLE_SHARDS = (1_000, 4)
IDLE_REST_S, IDLE_WATCH_S = 20, 60
REPLAYS = 5
BENCH = Path(os.environ.get("TUNNELOG_BENCH_DIR", tempfile.gettempdir()))

missed = []


def say(what, measured, goal="", met=True):
    print(f"  {what:<58}{measured:>22}   {goal}{'' if met else '   MISSED'}", flush=True)


def size(what, mib, goal_mib):
    """A size, which the machine's load does not change: above its goal it fails the run."""
    met = mib < goal_mib
    say(what, f"{mib:.1f} MiB", f"below {goal_mib} MiB", met)
    if not met:
        missed.append(what)


class Process:
    """`tunnelog run` against a stream of ours, until it is left."""

    def __init__(self, program, stream, folder):
        pipeline = Path(folder) / "p.yaml"
        pipeline.write_text(PIPELINE.format(folder=folder), encoding="utf-8")
        settings = {
            "PATH": os.environ["PATH"], "AWS_ENDPOINT_URL": stream.endpoint, "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "key", "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.errors = open(Path(folder) / "errors", "w+", encoding="utf-8")
        self.began = time.monotonic()
        self.child = subprocess.Popen(
            [program, "--log", "warn", "run", str(pipeline)], env=settings, stdout=subprocess.DEVNULL, stderr=self.errors
        )

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.child.send_signal(signal.SIGTERM)
        if self.child.wait() != 0 and kind is None:
            self.errors.seek(0)
            raise RuntimeError(f"tunnelog ended with {self.child.returncode}: {self.errors.read()[-2000:]}")

    def check(self):
        if self.child.poll() is not None:
            self.errors.seek(0)
            raise RuntimeError(f"tunnelog ended with {self.child.returncode}: {self.errors.read()[-2000:]}")

    def resident(self, field="VmRSS"):
        """MiB."""
        self.check()
        for line in Path(f"/proc/{self.child.pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024
        raise RuntimeError(f"no {field}")

    def cpu_s(self):
        fields = Path(f"/proc/{self.child.pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wakeups(self):
        """How often its threads have gone to sleep by themselves."""
        total = 0
        for status in Path(f"/proc/{self.child.pid}/task").glob("*/status"):
            line = next(line for line in status.read_text().splitlines() if line.startswith("voluntary_ctxt"))
            total += int(line.split()[1])
        return total


def wait(process, condition):
    while not condition():
        process.check()
        time.sleep(0.002)


def part_size(options):
    """The binary as it is shipped: without symbols."""
    with tempfile.NamedTemporaryFile() as stripped:
        subprocess.run(["strip", "--strip-all", "-o", stripped.name, options.tunnelog], check=True)
        size("binary, stripped", os.path.getsize(stripped.name) / MIB, 40)


def part_start(options):
    """From the start of the process to the first GetRecords, and to the first of a reader: the second one."""
    firsts, readers, marks = [], [], {}
    for _ in range(STARTS):
        stream = Stream([[]] * 4)
        with tempfile.TemporaryDirectory(dir=BENCH) as folder, Process(options.tunnelog, stream, folder) as process:
            wait(process, lambda: stream.count().get("getrecords", 0) >= 2)
            calls = [(at - process.began) * 1e3 for at, name in stream.calls if name == "getrecords"]
            firsts.append(calls[0])
            readers.append(calls[1])
            for name in ("describestreamsummary", "listshards", "getsharditerator"):
                marks.setdefault(name, []).append((stream.first(name) - process.began) * 1e3)
    for name, times in marks.items():
        say(f"start to the first {name}, ms", f"{statistics.median(times):.0f}")
    first = statistics.median(firsts)
    say(f"start to the first GetRecords, ms (median of {STARTS})", f"{first:.0f}", "below 150 ms", first < 150)
    say("start to the first GetRecords of a shard's reader, ms", f"{statistics.median(readers):.0f}")


def part_idle(options):
    """Open shards that have nothing."""
    for shards in IDLE_SHARDS:
        stream = Stream([[]] * shards)
        with tempfile.TemporaryDirectory(dir=BENCH) as folder, Process(options.tunnelog, stream, folder) as process:
            wait(process, lambda: stream.count().get("getrecords", 0) > 2 * shards)
            time.sleep(IDLE_REST_S)
            began, cpu, wakeups = time.monotonic(), process.cpu_s(), process.wakeups()
            time.sleep(IDLE_WATCH_S)
            seconds = time.monotonic() - began
            cpu, wakeups = process.cpu_s() - cpu, process.wakeups() - wakeups
            calls = sum(stream.count(began).values())
            size(f"{shards:,} idle shards: resident", process.resident(), 60)
            say(f"{shards:,} idle shards: anonymous part of it, and the peak",
                f"{process.resident('RssAnon'):.1f}, {process.resident('VmHWM'):.1f} MiB")
            say(f"{shards:,} idle shards: calls to Kinesis a second", f"{calls / seconds:.1f}")
            say(f"{shards:,} idle shards: CPU-seconds a minute", f"{cpu * 60 / seconds:.2f}")
            say(f"{shards:,} idle shards: wake-ups a second", f"{wakeups / seconds:.0f}")


def records(options, connections, hours, shards):
    """What a fleet writes in some hours: for each shard its records in base64."""
    with tempfile.TemporaryDirectory(dir=BENCH) as folder:
        wish = ["--connections", connections, "--hours", hours, "--shards", shards, "--to", folder]
        subprocess.run([options.tunnelog, "simulate", *map(str, wish)], check=True, stderr=subprocess.DEVNULL)
        return [path.read_text().split() for path in sorted((Path(folder) / "records").iterdir())]


def part_traffic(options):
    """An hour of a fleet of 10,000 connections, as fast as four shards give it."""
    shards = records(options, 10_000, 1, 4)
    stream = Stream(shards)
    megabytes = sum(len(record) for shard in shards for record in shard) * 3 / 4e6
    with tempfile.TemporaryDirectory(dir=BENCH) as folder, Process(options.tunnelog, stream, folder) as process:
        marks, seen = [], []
        began = time.monotonic()
        while len(marks) < 4:
            process.check()
            seen.append(process.resident())
            if stream.served >= stream.total * (len(marks) + 1) / 4:
                # The highest within a quarter: one look meets the sawtooth of pieces anywhere.
                marks.append(max(seen))
                seen = []
            time.sleep(0.02)
        seconds, peak = time.monotonic() - began, process.resident("VmHWM")
        time.sleep(15)
        after = process.resident()
    say(f"an hour of traffic: {stream.total:,} records, {megabytes:.0f} MB", f"in {seconds:.0f} s")
    say("an hour of traffic: highest resident MiB in each quarter", ", ".join(f"{mark:.0f}" for mark in marks))
    growth = marks[3] / marks[1]
    say("an hour of traffic: the last quarter against the second", f"{growth:.2f}", "at most 1.10", growth <= 1.1)
    if growth > 1.1:
        missed.append("memory over an hour of traffic")
    say("an hour of traffic: peak, and when all is quiet again", f"{peak:.0f}, {after:.0f} MiB")


REPLAY = PIPELINE.replace("kinesis: {{ stream: vpn-logs, start: trim_horizon }}", "simulate: {{}}")


def replay(options, inputs, cores):
    """Seconds and CPU-seconds of a replay into a file on the first `cores` cores."""
    with tempfile.TemporaryDirectory(dir=BENCH) as folder:
        pipeline = Path(folder) / "p.yaml"
        pipeline.write_text(REPLAY.format(folder=folder), encoding="utf-8")
        allowed = set(sorted(os.sched_getaffinity(0))[:cores])
        began = time.monotonic()
        child = subprocess.Popen(
            [options.tunnelog, "--log", "error", "replay", str(pipeline), *inputs],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=lambda: os.sched_setaffinity(0, allowed),
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            raise RuntimeError(f"tunnelog replay ended with {child.returncode}")
        return time.monotonic() - began, usage.ru_utime + usage.ru_stime


def part_cores(options):
    """A replay into a file on one core and on two: one file, and several."""
    if len(os.sched_getaffinity(0)) < 2:
        say("replay on two cores", "there is one")
        return
    for files in (1, 4):
        with tempfile.TemporaryDirectory(dir=BENCH) as folder:
            wish = ["--connections", "2000", "--hours", "4", "--shards", str(files), "--to", folder]
            subprocess.run([options.tunnelog, "simulate", *wish], check=True, stderr=subprocess.DEVNULL)
            inputs = [str(path) for path in sorted((Path(folder) / "records").iterdir())]
            # One after the other, so that what else the machine does meets both alike.
            runs = [(replay(options, inputs, 1), replay(options, inputs, 2)) for _ in range(REPLAYS)]
        one, two = (statistics.median(run[cores][0] for run in runs) for cores in (0, 1))
        cpu = statistics.median(run[1][1] for run in runs)
        best = max(one_core[0] / two_cores[0] for one_core, two_cores in runs)
        name = f"replay of {files} file{'s' if files > 1 else ''} to a file"
        say(f"{name}: seconds on one core, on two; CPU-s", f"{one:.2f}, {two:.2f}; {cpu:.2f}")
        say(f"{name}: how many times as fast (median, best of {REPLAYS})", f"{one / two:.2f}, {best:.2f}", "1.7", one / two >= 1.7)


PARTS = {"size": part_size, "start": part_start, "idle": part_idle, "traffic": part_traffic, "cores": part_cores}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tunnelog", default=str(ROOT / "target" / "release" / "tunnelog"), help="the program")
    options.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    options = options.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        sys.exit(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if not os.access(options.tunnelog, os.X_OK):
        sys.exit(f"{options.tunnelog} is missing: cargo build --release, or --tunnelog PATH")
    options.tunnelog = str(Path(options.tunnelog).resolve())
    for name in options.parts or PARTS:
        PARTS[name](options)
    if missed:
        sys.exit("above the goal: " + "; ".join(missed))


if __name__ == "__main__":
    main()
