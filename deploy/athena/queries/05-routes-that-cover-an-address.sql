-- Which prefixes cover 10.1.2.3, and what was said last of each, the most specific first. An IPv4 address a.b.c.d is the
-- number ((a*256+b)*256+c)*256+d, here 167838211; for IPv6 compare prefix_first_hex and prefix_last_hex with the
-- address's 32 hex digits.
SELECT
  prefix,
  connection_id,
  tunnel_outside_ip,
  time,
  action,
  as_path
FROM (
  SELECT
    *,
    row_number() OVER (PARTITION BY connection_id, tunnel_outside_ip, prefix ORDER BY time DESC, id DESC) AS place
  FROM vpn_events
  WHERE dt BETWEEN '2026-01-15' AND '2026-01-21'
    AND kind = 'bgp.route'
    AND prefix_first_num <= 167838211
    AND prefix_last_num >= 167838211
)
WHERE place = 1
ORDER BY prefix_length DESC, prefix, connection_id, tunnel_outside_ip
