-- Everything worth a look in the quarter of an hour before and after 03:00 UTC, in order.
SELECT
  time,
  severity,
  account_id,
  region,
  connection_id,
  tunnel_outside_ip,
  summary
FROM vpn_events
WHERE dt = '2026-01-15'
  AND time BETWEEN TIMESTAMP '2026-01-15 02:45:00' AND TIMESTAMP '2026-01-15 03:15:00'
  AND severity_number >= 2
ORDER BY time, connection_id, tunnel_outside_ip, id
