"""The same job as a Lambda function would do it: records of a Kinesis stream to events, one JSON object a line.

Written as such functions are: the standard library, dictionaries, regular expressions. `handler` takes what Lambda hands
to it; `main` hands it the records of files, a hundred at a time, as an event source mapping does.
"""

import base64
import glob
import gzip
import json
import os
import re
import sys
from datetime import datetime, timezone

STREAM = re.compile(r"(vpn-[0-9a-f]+)_([0-9a-fA-F.\-]+?)-(IKE|BGP)")
STATES = re.compile(r"BGP session state has changed from (\w+) to (\w+) with neighbor (\S+)")
PREFIXES = re.compile(r"received (\d+) prefixes from neighbor ([^,\s]+), limit is (\d+)")
NOTIFICATION = re.compile(r"(sent a|received) notification (\d+)/(\d+) \(([^)]*)\)")
NEIGHBOR = re.compile(r"neighbor ([0-9a-fA-F.:]+)")

IKE = [
    ("peer dead", "peer_unresponsive", "error"),
    ("DPD timed out", "dpd_timeout", "error"),
    ("pre-shared key mismatch", "psk_mismatch", "error"),
    ("No Proposal Match", "no_proposal", "error"),
    ("AUTHENTICATION_FAILED", "auth_failed", "error"),
    ("TS_UNACCEPTABLE", "ts_unacceptable", "error"),
    ("DELETE for Phase 2", "phase2_deleted", "notice"),
    ("DELETE for IKE_SA", "phase1_deleted", "notice"),
    ("CREATE_CHILD_SA", "rekey", "debug"),
]


def load_inventory(folder):
    """What `aws ec2 describe-vpn-connections` says, by connection."""
    found = {}
    for path in glob.glob(os.path.join(folder, "*", "*", "describe-vpn-connections.json")):
        account, region = path.split(os.sep)[-3:-1]
        with open(path, encoding="utf-8") as file:
            for connection in json.load(file)["VpnConnections"]:
                tags = {tag["Key"]: tag["Value"] for tag in connection.get("Tags", [])}
                tunnels = [tunnel["OutsideIpAddress"] for tunnel in connection.get("Options", {}).get("TunnelOptions", [])]
                found[connection["VpnConnectionId"]] = {
                    "account": account,
                    "region": region,
                    "name": tags.pop("Name", None),
                    "state": connection.get("State"),
                    "customer_gateway": connection.get("CustomerGatewayId"),
                    "gateway": connection.get("TransitGatewayId") or connection.get("VpnGatewayId"),
                    "tags": tags,
                    "tunnels": tunnels,
                }
    return found


def bgp(line, event):
    message = line.get("message") or {}
    details = message.get("details") or ""
    if line["type"] == "RouteStatus":
        event["kind"] = "bgp.route"
        event["action"] = "rejected" if details.startswith("DENIED") else line["status"].lower()
        event["severity"] = "warning" if details else "debug"
        asns = [int(asn) for asn in (message.get("asPath") or "").split() if asn.isdigit()]
        event["bgp"] = {
            "prefix": message.get("prefix"),
            "as_path": message.get("asPath"),
            "as_path_asns": asns,
            "next_hop": message.get("nextHopIp"),
            "local_pref": message.get("localPref"),
            "med": message.get("med"),
            "rejected_because": details or None,
        }
        event["summary"] = f"Route {message.get('prefix')} {event['action']}"
        return
    event["kind"], event["action"], event["severity"] = "bgp.session", "other", "info"
    event["session_state"] = line["status"].lower()
    fields = event["bgp"] = {}
    if found := STATES.search(details):
        fields["from_state"], fields["to_state"], fields["neighbor"] = found.groups()
        edges = {("OpenConfirm", "Established"): ("established", "up"), ("Established", "Idle"): ("down", "down")}
        event["action"], event["transition"] = edges.get(found.groups()[:2], ("state_changed", None))
    elif found := PREFIXES.search(details):
        fields["prefix_count"], fields["neighbor"], fields["prefix_limit"] = int(found[1]), found[2], int(found[3])
        event["action"] = "prefix_limit_exceeded" if "exceeded" in details else "prefix_limit_warning"
    elif found := NOTIFICATION.search(details):
        event["action"] = "notification_sent" if found[1] == "sent a" else "notification_received"
        fields["notification"] = {"code": int(found[2]), "subcode": int(found[3]), "name": found[4]}
    if "neighbor" not in fields and (found := NEIGHBOR.search(details)):
        fields["neighbor"] = found[1]
    event["summary"] = details


def ike(line, event):
    details = line.get("details") or ""
    event["kind"], event["action"], event["severity"] = "ike", "other", "info"
    for text, action, severity in IKE:
        if text in details:
            event["action"], event["severity"] = action, severity
            break
    event["ike"] = {
        "phase1": line.get("ike_phase1_state"),
        "phase2": line.get("ike_phase2_state"),
        "dpd_enabled": line.get("dpd_enabled"),
        "nat_t": line.get("nat_t_detected"),
    }
    event["summary"] = details


def event_of(log, envelope, inventory):
    event = {
        "time": datetime.fromtimestamp(log["timestamp"] / 1000, timezone.utc).isoformat(timespec="milliseconds"),
        "cloud": {"provider": "aws", "account_id": envelope["owner"]},
        "log": {"group_name": envelope["logGroup"], "stream_name": envelope["logStream"], "event_id": log["id"]},
    }
    if found := STREAM.search(envelope["logStream"]):
        vpn = event["vpn"] = {"connection_id": found[1], "tunnel": {"outside_ip": found[2]}}
        if known := inventory.get(found[1]):
            event["cloud"]["region"] = known["region"]
            vpn.update({key: known[key] for key in ("name", "state", "customer_gateway", "gateway", "tags")})
            if found[2] in known["tunnels"]:
                vpn["tunnel"]["index"] = known["tunnels"].index(found[2]) + 1
    try:
        line = json.loads(log["message"])
        if "type" in line:
            bgp(line, event)
        else:
            ike(line, event)
    except (ValueError, KeyError, TypeError, AttributeError):
        event.update(kind="unparsed", action="unparsed", severity="warning", raw=log["message"])
    return event


def handler(batch, inventory, out):
    for record in batch["Records"]:
        try:
            envelope = json.loads(gzip.decompress(base64.b64decode(record["kinesis"]["data"])))
        except (OSError, EOFError, ValueError):
            continue  # a real one would keep it
        if envelope["messageType"] != "DATA_MESSAGE":
            continue
        for log in envelope["logEvents"]:
            out.write(json.dumps(event_of(log, envelope, inventory), separators=(",", ":")) + "\n")


def main(inventory, output, *inputs):
    inventory = load_inventory(inventory)
    with open(output, "w", encoding="utf-8") as out:
        for path in inputs:
            with open(path, encoding="ascii") as lines:
                batch = []
                for line in lines:
                    batch.append({"kinesis": {"data": line}})
                    if len(batch) == 100:
                        handler({"Records": batch}, inventory, out)
                        batch = []
                handler({"Records": batch}, inventory, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
