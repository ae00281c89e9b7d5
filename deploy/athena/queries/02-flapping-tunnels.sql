-- Tunnels whose BGP session went down at least three times on one day.
SELECT
  dt,
  connection_id,
  max(connection_name) AS connection_name,
  tunnel_outside_ip,
  count(*) AS downs,
  min(time) AS first_down,
  max(time) AS last_down
FROM vpn_events
WHERE dt BETWEEN '2026-01-15' AND '2026-01-21'
  AND kind = 'bgp.session'
  AND transition = 'down'
GROUP BY dt, connection_id, tunnel_outside_ip
HAVING count(*) >= 3
ORDER BY downs DESC, dt, connection_id, tunnel_outside_ip
