#!/usr/bin/env python3
"""One job by everything that is installed: CPU-seconds per million events and peak memory of each.

    benches/compare/run.py                      what is there; says what is missing and how to install it
    benches/compare/run.py --connections 100    a larger fleet

The job: base64 of Kinesis records in, as `tunnelog simulate` writes them; events out, as JSON lines, with what the
inventory knows of their connections. Needs Python 3.9 and Linux. Times are of the processes' own CPU, so that a busy
machine changes them little; compare columns of one run only.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import handler

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
VRL = ROOT / "target" / "compare" / "release" / "compare-vrl"
BENTHOS = ROOT / "target" / "compare" / "benthos"

PIPELINE = """\
sources: {{ main: {{ simulate: {{}} }} }}
enrich: {{ file: "{fleet}/inventory", tags: [site, env] }}
sinks: {{ out: {{ file: {{ path: "{folder}/events.ndjson" }} }} }}
dead_letters: {{ file: {{ path: "{folder}/dead.ndjson" }} }}
checkpoint: {{ file: "{folder}/state.redb" }}
"""


class Missing(Exception):
    """A contestant is not installed; the text says how to."""


def need(program, remedy):
    found = shutil.which(str(program))
    if not found:
        raise Missing(remedy)
    return found


class Job:
    """The records and the inventory, in the forms that the contestants read."""

    def __init__(self, folder, tunnelog, options):
        self.folder, self.tunnelog = folder, tunnelog
        self.fleet = folder / "fleet"
        wish = ["--connections", options.connections, "--hours", options.hours, "--seed", options.seed, "--shards", 1]
        subprocess.run([tunnelog, "simulate", *map(str, wish), "--to", self.fleet], check=True, stderr=subprocess.DEVNULL)
        self.inputs = sorted((self.fleet / "records").iterdir())
        connections = handler.load_inventory(str(self.fleet / "inventory"))
        fields = ["account", "region", "name", "state", "customer_gateway", "gateway"]
        with open(folder / "connections.csv", "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["connection_id", *fields])
            table.writerows([[id, *(known[field] for field in fields)] for id, known in connections.items()])
        (folder / "connections.json").write_text(json.dumps(connections), encoding="utf-8")


def tunnelog(job, folder):
    pipeline = folder / "p.yaml"
    pipeline.write_text(PIPELINE.format(fleet=job.fleet, folder=folder), encoding="utf-8")
    return [job.tunnelog, "--log", "error", "replay", pipeline, *job.inputs], {}


def python(job, folder):
    return [sys.executable, HERE / "handler.py", job.fleet / "inventory", folder / "events.ndjson", *job.inputs], {}


def vrl(job, folder):
    build = f"cargo build --release --manifest-path {HERE}/vrl/Cargo.toml --target-dir {VRL.parent.parent}"
    program = need(VRL, f"build it, some minutes: {build}")
    return [program, HERE / "vpn.vrl", job.folder / "connections.csv", folder / "events.ndjson", *job.inputs], {}


def vector(job, folder):
    program = need("vector", "https://vector.dev/docs/setup/installation/")
    (folder / "state").mkdir()
    settings = {
        "COMPARE_PROGRAM": HERE / "vpn.vrl",
        "COMPARE_TABLE": job.folder / "connections.csv",
        "COMPARE_STATE": folder / "state",
    }
    return [program, "--quiet", "--config", HERE / "vector.yaml"], settings


def redpanda(program):
    def start(job, folder):
        return [program, "run", HERE / "redpanda-connect.yaml"], {"COMPARE_TABLE": job.folder / "connections.json"}

    return start


def benthos(job, folder):
    return redpanda(need(BENTHOS, f"build it, some minutes: go build -C {HERE}/benthos -o {BENTHOS}"))(job, folder)


def redpanda_connect(job, folder):
    remedy = "https://docs.redpanda.com/connect/get-started/quickstarts/ (or Bento, with the same file)"
    program = next((found for name in ("redpanda-connect", "bento") if (found := shutil.which(name))), None)
    if not program:
        raise Missing(remedy)
    return redpanda(program)(job, folder)


CONTESTANTS = [
    ("tunnelog", tunnelog, None),
    ("tunnelog, one core", tunnelog, 0),
    ("Python handler", python, None),
    ("VRL, the crate", vrl, None),
    ("Vector", vector, None),
    ("Benthos, the module", benthos, None),
    ("Redpanda Connect", redpanda_connect, None),
]


def run(job, start, core):
    """The command's events, CPU-seconds, peak KiB and seconds."""
    with tempfile.TemporaryDirectory(dir=job.folder) as folder:
        folder = Path(folder)
        command, settings = start(job, folder)
        settings = {**os.environ, "COMPARE_OUTPUT": folder / "events.ndjson", **settings}
        errors = open(folder / "errors", "w+", encoding="utf-8")
        pin = (lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})) if core is not None else None
        # Those that read standard input get the records there.
        with open(job.inputs[0], "rb") as records:
            begin = time.monotonic()
            child = subprocess.Popen(
                [str(word) for word in command], env={key: str(value) for key, value in settings.items()},
                stdin=records, stdout=subprocess.DEVNULL, stderr=errors, preexec_fn=pin,
            )
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - begin
        if child.returncode != 0:
            errors.seek(0)
            raise RuntimeError(f"{command[0]} ended with {child.returncode}: {errors.read()[-2000:]}")
        with open(folder / "events.ndjson", "rb") as out:
            events = sum(1 for _ in out)
        return events, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, seconds


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tunnelog", default=str(ROOT / "target" / "release" / "tunnelog"), help="the program")
    options.add_argument("--connections", type=int, default=50)
    options.add_argument("--hours", type=int, default=24)
    options.add_argument("--seed", type=int, default=1)
    options = options.parse_args()
    if not shutil.which(options.tunnelog):
        sys.exit(f"{options.tunnelog} is missing: cargo build --release, or --tunnelog PATH")
    with tempfile.TemporaryDirectory() as folder:
        job = Job(Path(folder), options.tunnelog, options)
        megabytes = sum(path.stat().st_size for path in job.inputs) / 1e6
        print(f"{options.connections} connections, {options.hours} h: {megabytes:.1f} MB of records in base64\n")
        print(f"{'':<20}{'events':>10}{'CPU-s per million':>20}{'peak MiB':>10}{'cores used':>12}{'× tunnelog':>12}")
        first, missing = None, []
        for name, start, core in CONTESTANTS:
            try:
                events, cpu, peak, seconds = run(job, start, core)
            except Missing as remedy:
                missing.append(f"{name} is not installed: {remedy}")
                continue
            cost = cpu * 1e6 / max(events, 1)
            first = first or cost
            print(f"{name:<20}{events:>10}{cost:>20.1f}{peak / 1024:>10.0f}{cpu / seconds:>12.2f}{cost / first:>12.1f}")
        print("", *missing, sep="\n")


if __name__ == "__main__":
    main()
