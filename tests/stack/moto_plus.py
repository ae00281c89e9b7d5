#!/usr/bin/env python3
"""A moto server with the gaps filled that matter to tunnelog.

1. DescribeVpnConnections has TunnelOptions (two outside addresses, inside CIDRs, log options) and VgwTelemetry.
2. ModifyVpnTunnelOptions works.
3. Events that CloudWatch Logs sends through a subscription filter have 56-digit text ids, as AWS's have.
4. DynamoDB's writes are atomic: a transaction that fails undoes no write of somebody else beside it, and copies its
   table once in place of once an item.

A tunnel's state is steered by tags of the connection: sim:tunnel1=DOWN, sim:message1=IPSEC IS DOWN.

usage: moto_plus.py -H 127.0.0.1 -p 5555
"""

import copy
import datetime
import functools
import hashlib
import sys
import threading
import types

from moto.core.responses import ActionResult
from moto.dynamodb import models as dynamodb
from moto.ec2.models import vpn_connections
from moto.ec2.responses.vpn_connections import VPNConnections
from moto.logs import models as logs
from moto.server import main

Connection = vpn_connections.VPNConnection
make_connection = Connection.__init__


def connection(self, *arguments, **named):
    """A connection whose addresses come from its id."""
    make_connection(self, *arguments, **named)
    digest = hashlib.sha256(self.id.encode()).digest()
    self.category = "VPN"
    self.routes = []
    self.outside = [f"203.0.113.{digest[0] or 1}", f"198.51.100.{digest[1] or 1}"]
    self.since = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    self.options = {
        "EnableAcceleration": False,
        "StaticRoutesOnly": False,
        "LocalIpv4NetworkCidr": "0.0.0.0/0",
        "RemoteIpv4NetworkCidr": "0.0.0.0/0",
        "TunnelInsideIpVersion": "ipv4",
        "TunnelOptions": [
            {
                "OutsideIpAddress": address,
                "TunnelInsideCidr": f"169.254.{digest[2 + tunnel]}.{digest[4 + tunnel] & 0xFC}/30",
                "PreSharedKey": "notreal",
            }
            for tunnel, address in enumerate(self.outside)
        ],
    }


def telemetry(self):
    """Both tunnels' state, as the connection's tags say."""
    tags = {tag["key"]: tag["value"] for tag in self.get_tags()}
    return [
        {
            "OutsideIpAddress": address,
            "Status": tags.get(f"sim:tunnel{tunnel}", "UP"),
            "AcceptedRouteCount": 2,
            "LastStatusChange": self.since,
            "StatusMessage": tags.get(f"sim:message{tunnel}", "2 BGP ROUTES"),
        }
        for tunnel, address in enumerate(self.outside, start=1)
    ]


def modify_vpn_tunnel_options(self):
    """Sets one tunnel's options, its log options among them."""
    [found] = self.ec2_backend.describe_vpn_connections([self._get_param("VpnConnectionId")])
    address = self._get_param("VpnTunnelOutsideIpAddress")
    wanted = self._get_param("TunnelOptions", {}) or {}
    for tunnel in found.options["TunnelOptions"]:
        if tunnel["OutsideIpAddress"] == address:
            tunnel.update({name.replace("DPD", "Dpd"): value for name, value in wanted.items()})
    return ActionResult({"VpnConnection": found})


Connection.__init__ = connection
Connection.vgw_telemetry = property(telemetry)
VPNConnections.modify_vpn_tunnel_options = modify_vpn_tunnel_options

make_event = logs.LogEvent.__init__


def event(self, *arguments, **named):
    """An event whose id is a text of 56 digits, in the order of time."""
    make_event(self, *arguments, **named)
    self.event_id = "%056d" % (int(self.timestamp) * 10**30 + int(self.event_id))


logs.LogEvent.__init__ = event

one_writer = threading.RLock()
# What a transaction would put back, by table.
kept = {}


def atomic(write):
    """A write that no other one meets."""

    @functools.wraps(write)
    def alone(*arguments, **named):
        with one_writer:
            return write(*arguments, **named)

    return alone


def transaction(self, transact_items, write=dynamodb.DynamoDBBackend.transact_write_items):
    """A transaction that copies each table once."""
    kept.clear()
    try:
        return write(self, transact_items)
    finally:
        kept.clear()


def deepcopy(found):
    """A copy; of a table one for all items of a transaction, which are all copied before any is written."""
    if not isinstance(found, dynamodb.Table):
        return copy.deepcopy(found)
    with one_writer:
        if id(found) not in kept:
            kept[id(found)] = copy.deepcopy(found)
        return kept[id(found)]


dynamodb.copy = types.SimpleNamespace(deepcopy=deepcopy, copy=copy.copy)
dynamodb.DynamoDBBackend.transact_write_items = atomic(transaction)
for name in ["put_item", "update_item", "delete_item"]:
    setattr(dynamodb.DynamoDBBackend, name, atomic(getattr(dynamodb.DynamoDBBackend, name)))

if __name__ == "__main__":
    main(sys.argv[1:])
