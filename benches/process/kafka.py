#!/usr/bin/env python3
"""Where the time goes when files are replayed into Kafka at full rate: librdkafka's part and ours.

    make stack profiled
    benches/process/kafka.py

It starts the test stack's Apache Kafka, replays a simulated fleet into a topic of it under `perf record` and adds up the
samples of the program alone. Needs Python 3.9, Linux, Java 17 and perf (apt-get install linux-perf); no clock decides.
"""

import argparse
import collections
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

BROKER = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
log.dirs={folder}/data
num.partitions=8
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
auto.create.topics.enable=true
"""

PIPELINE = """\
sources: {{ main: {{ simulate: {{}} }} }}
sinks: {{ out: {{ kafka: {{ brokers: ["127.0.0.1:{port}"], topic: vpn-events, compression: {compression} }} }} }}
dead_letters: {{ file: {{ path: "{folder}/dead.ndjson" }} }}
checkpoint: {{ file: "{folder}/state.redb" }}
"""

# How symbols of librdkafka and of its crate begin. C's own malloc is its as well: Rust's memory is mimalloc's here.
CLIENT = re.compile(r"^(rd_|rdk|rko_|LZ4|XXH32|snappy|_?rd_kafka)|rdkafka")
C_MALLOC = re.compile(r"^(_int_|unlink_chunk|malloc|cfree|free|realloc|calloc|sysmalloc|systrim|__libc_)")
OURS = re.compile(r"\btunnelog\b")
INFLATE = re.compile(r"deflate|build_decode_table|crc32_x86|adler")
MEMORY = re.compile(r"^(_?mi_|__mem|mem(cpy|move|set|cmp|chr))")


def kind(thread, symbol, kernel):
    if thread.startswith(("rdk:", "producer poll")):
        return "librdkafka's threads" + (", in the kernel" if kernel else "")
    if CLIENT.search(symbol):
        return "librdkafka, called from ours"
    if C_MALLOC.search(symbol):
        return "malloc of librdkafka, called from ours"
    if kernel:
        return "the kernel, from our threads"
    if INFLATE.search(symbol):
        return "gunzip"
    if OURS.search(symbol):
        return "tunnelog"
    if MEMORY.search(symbol):
        return "copies and memory, from our threads"
    return "else, from our threads"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_broker(folder):
    port = free_port()
    settings = BROKER.format(port=port, controller=free_port(), folder=folder)
    (folder / "server.properties").write_text(settings, encoding="utf-8")
    jars = ROOT / ".tools" / "stack" / "kafka"
    if not jars.is_dir():
        sys.exit(f"{jars} is missing: make stack")
    (folder / "tmp").mkdir()
    with open(folder / "log", "w", encoding="utf-8") as log:
        command = ["bash", ROOT / "tests/stack/kafka.sh", folder, jars, "tester", "tester-secret"]
        broker = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log)
    while True:
        if broker.poll() is not None:
            sys.exit("the broker has ended: " + (folder / "log").read_text()[-2000:])
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return broker, port
        except OSError:
            time.sleep(0.2)


def profile(options, folder, inputs, port):
    pipeline = folder / "p.yaml"
    pipeline.write_text(PIPELINE.format(folder=folder, port=port, compression=options.compression), encoding="utf-8")
    data = str(folder / "perf.data")
    replay = [options.tunnelog, "--log", "error", "replay", str(pipeline), *inputs]
    began = time.monotonic()
    subprocess.run(["perf", "record", "-q", "-e", "cpu-clock", "-F", "999", "-o", data, "--", *replay], check=True,
                   stdout=subprocess.DEVNULL, stderr=open(folder / "errors", "w"))
    seconds = time.monotonic() - began
    report = ["perf", "report", "-q", "-i", data, "--no-children", "--stdio", "--sort", "comm,symbol", "-t", ";"]
    lines = subprocess.run(report, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    return seconds, [[word.strip() for word in line.split(";", 2)] for line in lines.splitlines() if line.strip()]


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tunnelog", default=str(ROOT / "target" / "profiling" / "tunnelog"), help="the program")
    options.add_argument("--compression", default="lz4")
    options.add_argument("--connections", type=int, default=2000)
    options.add_argument("--hours", type=int, default=8)
    options = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        wish = ["--connections", options.connections, "--hours", options.hours, "--shards", 4, "--to", folder / "fleet"]
        subprocess.run([options.tunnelog, "simulate", *map(str, wish)], check=True, stderr=subprocess.DEVNULL)
        inputs = sorted(str(path) for path in (folder / "fleet" / "records").iterdir())
        broker, port = start_broker(folder)
        try:
            seconds, lines = profile(options, folder, inputs, port)
        finally:
            broker.terminate()
            broker.wait()
    print(f"{options.connections} connections, {options.hours} h, replayed in {seconds:.1f} s with compression {options.compression}\n")
    shares, top = collections.Counter(), []
    for share, thread, symbol in lines:
        share, symbol = float(share.rstrip("%")), symbol
        kernel, name = symbol.startswith("[k]"), symbol[4:]
        shares[kind(thread, name, kernel)] += share
        top.append((share, thread, name))
    for name, share in shares.most_common():
        print(f"  {share:5.1f} %  {name}")
    client = sum(share for name, share in shares.items() if "librdkafka" in name)
    print(f"\n  {client:5.1f} %  librdkafka in all\n")
    for share, thread, name in sorted(top, reverse=True)[:15]:
        print(f"  {share:5.1f} %  {thread:<16} {name[:90]}")


if __name__ == "__main__":
    main()
