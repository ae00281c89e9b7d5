"""A Kinesis stream in a thread: the five calls of a reader that polls, over HTTP, fast and with nothing else.

It serves what it is given: no throttling, no splits, no end. Every call is kept with its time. It is no judge of how the
program reads (tests/kinesis.rs is); it lets a process be measured that has a thousand shards.
"""

import asyncio
import json
import threading
import time

STREAM = "arn:aws:kinesis:us-east-1:000000000000:stream/vpn-logs"
# What one answer of the service has at most.
ANSWER_RECORDS, ANSWER_BYTES = 10_000, 10_000_000


def shard_name(number):
    return f"shardId-{number:012}"


class Stream:
    """`shards` of base64 records each; `calls` are (time, operation), `served` is how many records went out."""

    def __init__(self, shards):
        self.shards = {shard_name(number): records for number, records in enumerate(shards)}
        self.total = sum(map(len, shards))
        self.calls, self.served = [], 0
        self.caught_up = threading.Event()
        self.loop = asyncio.new_event_loop()
        self.server = self.loop.run_until_complete(asyncio.start_server(self.serve, "127.0.0.1", 0))
        self.endpoint = "http://127.0.0.1:%d" % self.server.sockets[0].getsockname()[1]
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
                body = await reader.readexactly(int(fields.get(b"content-length", 0)))
                operation = fields[b"x-amz-target"].decode().rsplit(".")[-1]
                self.calls.append((time.monotonic(), operation))
                answer = json.dumps(self.answer(operation, json.loads(body))).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: %d\r\n\r\n" % len(answer)
                )
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def answer(self, operation, body):
        # Header names and values are in small letters here.
        if operation == "describestreamsummary":
            return {"StreamDescriptionSummary": {
                "StreamName": "vpn-logs", "StreamARN": STREAM, "StreamStatus": "ACTIVE", "RetentionPeriodHours": 24,
                "StreamCreationTimestamp": 1_700_000_000, "EnhancedMonitoring": [], "OpenShardCount": len(self.shards)}}
        if operation == "listshards":
            rest = {"HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "1"},
                    "SequenceNumberRange": {"StartingSequenceNumber": "0"}}
            return {"Shards": [{"ShardId": name, **rest} for name in self.shards]}
        if operation == "getsharditerator":
            kind, number = body["ShardIteratorType"], int(body.get("StartingSequenceNumber", 0))
            at = {"AT_SEQUENCE_NUMBER": number - 1, "AFTER_SEQUENCE_NUMBER": number}.get(kind, 0)
            return {"ShardIterator": f"{body['ShardId']}|{at}"}
        if operation == "getrecords":
            return self.records(body["ShardIterator"], body.get("Limit", ANSWER_RECORDS))
        raise ValueError(operation)

    def records(self, iterator, limit):
        shard, at = iterator.split("|")
        records, at = self.shards[shard], int(at)
        end, size = at, 0
        while end < len(records) and end - at < limit and size < ANSWER_BYTES:
            size += len(records[end]) * 3 // 4
            end += 1
        # The proof at the start takes one that a reader takes again.
        self.served += end - at if limit > 1 else 0
        if self.served >= self.total:
            self.caught_up.set()
        now = time.time()
        return {
            "MillisBehindLatest": 1_000 if end < len(records) else 0,
            "NextShardIterator": f"{shard}|{end}",
            "Records": [{"SequenceNumber": str(number + 1), "Data": records[number], "PartitionKey": "key",
                         "ApproximateArrivalTimestamp": now} for number in range(at, end)],
        }

    def count(self, since=0.0):
        """Calls by operation since a time."""
        counts = {}
        for at, operation in self.calls:
            if at >= since:
                counts[operation] = counts.get(operation, 0) + 1
        return counts

    def first(self, operation):
        return next((at for at, called in self.calls if called == operation), None)
