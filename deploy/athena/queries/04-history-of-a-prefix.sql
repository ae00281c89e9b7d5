-- Everything that was said about one prefix: put it in place of 10.1.0.0/16.
SELECT
  time,
  connection_id,
  tunnel_outside_ip,
  action,
  as_path,
  next_hop,
  med,
  local_pref,
  rejected_because
FROM vpn_events
WHERE dt BETWEEN '2026-01-15' AND '2026-01-21'
  AND kind = 'bgp.route'
  AND prefix = '10.1.0.0/16'
ORDER BY time, connection_id, tunnel_outside_ip, action, id
