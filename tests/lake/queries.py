"""usage: queries.py LAKE EVENTS.ndjson: the shipped queries in DuckDB against answers computed from the events.

The answers are plain loops over JSON: they share nothing with the queries but the question.
"""

import collections
import glob
import ipaddress
import os
import sys
from datetime import datetime, timedelta, timezone

import sqlglot

import lake

SEVERITIES = ["debug", "info", "notice", "warning", "error", "critical"]


def moment(event):
    return datetime.fromisoformat(event["time"]).astimezone(timezone.utc).replace(tzinfo=None)


def get(event, path):
    for name in path.split("."):
        event = event.get(name) if isinstance(event, dict) else None
    return event


def connection(event):
    return get(event, "vpn.connection_id")


def tunnel(event):
    return get(event, "vpn.tunnel.outside_ip")


def day(event):
    return event["time"][:10]


def is_edge(event, *edges):
    return event["kind"] == "bgp.session" and event.get("transition") in edges


def in_order(events):
    return sorted(events, key=lambda event: (moment(event), event["id"]))


def grouped(events, key):
    groups = collections.defaultdict(list)
    for event in events:
        groups[key(event)].append(event)
    return groups


def most(values):
    return max((value for value in values if value is not None), default=None)


def sessions_down(events):
    downs = grouped((e for e in events if is_edge(e, "down")),
                    lambda e: (day(e), (get(e, "vpn.tags") or {}).get("site", "unknown")))
    rows = [(dt, site, len(some), len({connection(e) for e in some})) for (dt, site), some in downs.items()]
    return sorted(rows, key=lambda row: (row[0], -row[2], row[1]))


def flapping(events):
    downs = grouped((e for e in events if is_edge(e, "down")), lambda e: (day(e), connection(e), tunnel(e)))
    rows = [(dt, vpn, most(get(e, "vpn.name") for e in some), ip, len(some), min(map(moment, some)),
             max(map(moment, some))) for (dt, vpn, ip), some in downs.items() if len(some) >= 3]
    return sorted(rows, key=lambda row: (-row[4], row[0], row[1], row[3]))


def outages(events):
    rows = []
    for (vpn, ip), edges in grouped((e for e in events if is_edge(e, "up", "down")),
                                    lambda e: (connection(e), tunnel(e))).items():
        down = None
        for event in in_order(edges):
            if event["transition"] == "down" and down is None:
                down = event
            elif event["transition"] == "up" and down is not None:
                lasted = (moment(event) - moment(down)) / timedelta(seconds=1)
                rows.append((vpn, get(down, "vpn.name"), ip, moment(down), moment(event), round(lasted, 3)))
                down = None
        if down is not None:
            rows.append((vpn, get(down, "vpn.name"), ip, moment(down), None, None))
    rows.sort(key=lambda row: (row[5] is not None, -(row[5] or 0), row[3], row[0], row[2]))
    return rows[:10]


def prefix_history(events):
    rows = [e for e in events if e["kind"] == "bgp.route" and get(e, "bgp.prefix") == "10.1.0.0/16"]
    rows.sort(key=lambda e: (moment(e), connection(e), tunnel(e), e["action"], e["id"]))
    fields = ["as_path", "next_hop", "med", "local_pref", "rejected_because"]
    return [(moment(e), connection(e), tunnel(e), e["action"], *(e["bgp"].get(name) for name in fields)) for e in rows]


def latest(events):
    """What was said last of each prefix of each tunnel."""
    routes = [e for e in events if e["kind"] == "bgp.route" and get(e, "bgp.prefix")]
    groups = grouped(routes, lambda e: (connection(e), tunnel(e), e["bgp"]["prefix"]))
    return {key: in_order(some)[-1] for key, some in groups.items()}


def covering(events):
    address = ipaddress.ip_address("10.1.2.3")
    rows = []
    for (vpn, ip, prefix), event in latest(events).items():
        if address in ipaddress.ip_network(prefix):
            rows.append((prefix, vpn, ip, moment(event), event["action"], event["bgp"].get("as_path")))
    return sorted(rows, key=lambda row: (-int(row[0].split("/")[1]), *row[:3]))


def rejected(events):
    groups = grouped((e for e in events if e["kind"] == "bgp.route" and e["action"] == "rejected"),
                     lambda e: (e["bgp"].get("rejected_because"), connection(e)))
    rows = [(why, vpn, most(get(e, "vpn.name") for e in some), len(some), len({e["bgp"]["prefix"] for e in some}),
             max(map(moment, some))) for (why, vpn), some in groups.items()]
    return sorted(rows, key=lambda row: (-row[3], row[0], row[1]))


def path_changes(events):
    routes = [e for e in events if e["kind"] == "bgp.route" and e["action"] in ("advertised", "updated")
              and get(e, "bgp.as_path") is not None]
    found = []
    for some in grouped(routes, lambda e: (connection(e), tunnel(e), e["bgp"]["prefix"])).values():
        some = in_order(some)
        found += [(e, before["bgp"]["as_path"]) for before, e in zip(some, some[1:])
                  if before["bgp"]["as_path"] != e["bgp"]["as_path"]]
    found.sort(key=lambda pair: (moment(pair[0]), connection(pair[0]), tunnel(pair[0]), pair[0]["bgp"]["prefix"],
                                 pair[0]["id"]))
    return [(moment(e), connection(e), tunnel(e), e["bgp"]["prefix"], before, e["bgp"]["as_path"],
             len(e["bgp"]["as_path_asns"])) for e, before in found]


def around_three(events):
    three = datetime(2026, 1, 15, 3)
    rows = [e for e in events if abs(moment(e) - three) <= timedelta(minutes=15)
            and SEVERITIES.index(e["severity"]) >= 2 and day(e) == "2026-01-15"]
    rows.sort(key=lambda e: (moment(e), connection(e) or "", tunnel(e) or "", e["id"]))
    return [(moment(e), e["severity"], get(e, "cloud.account_id"), get(e, "cloud.region"), connection(e), tunnel(e),
             e["summary"]) for e in rows]


def ike_trouble(events):
    groups = grouped((e for e in events if e["kind"] == "ike" and SEVERITIES.index(e["severity"]) >= 3),
                     lambda e: (e["action"], get(e, "cloud.account_id"), connection(e)))
    rows = [(action, account, vpn, most(get(e, "vpn.customer_gateway.ip") for e in some),
             most(get(e, "vpn.customer_gateway.device") for e in some), len(some), min(map(moment, some)),
             max(map(moment, some))) for (action, account, vpn), some in groups.items()]
    return sorted(rows, key=lambda row: (-row[5], row[0], row[2]))


def on_one_tunnel(events):
    tunnels = collections.defaultdict(list)
    for (vpn, ip, prefix), event in latest(events).items():
        if vpn is not None and event["action"] in ("advertised", "updated"):
            tunnels[vpn, prefix].append(ip)
    return sorted((vpn, prefix, ips[0]) for (vpn, prefix), ips in tunnels.items() if len(ips) == 1)


ANSWERS = [sessions_down, flapping, outages, prefix_history, covering, rejected, path_changes, around_three,
           ike_trouble, on_one_tunnel]


def main(folder, path):
    all_events = lake.events_in(path)
    once = list({event["id"]: event for event in all_events}.values())
    assert len(once) < len(all_events), "upstream sends some events twice, or the view shows nothing"
    database = lake.connect(lake.files_in(folder))
    (rows,) = database.execute("SELECT count(*) FROM vpn_events").fetchone()
    assert rows == len(once), f"the view has {rows} rows, {len(once)} events are there"
    queries = sorted(glob.glob(os.path.join(lake.ATHENA, "queries", "*.sql")))
    assert len(queries) == len(ANSWERS), queries
    for query, answer in zip(queries, ANSWERS):
        with open(query) as file:
            (sql,) = sqlglot.transpile(file.read(), read="athena", write="duckdb")
        found, wanted = database.execute(sql).fetchall(), answer(once)
        name = os.path.basename(query)
        assert wanted, f"{name}: the simulated day has nothing to answer"
        if found != wanted:
            first = next(((a, b) for a, b in zip(found, wanted) if a != b), (len(found), len(wanted)))
            sys.exit(f"{name}: {len(found)} rows, {len(wanted)} are right; the first that differ: {first}")
        print(f"{name}: {len(found)} rows")


main(*sys.argv[1:])
