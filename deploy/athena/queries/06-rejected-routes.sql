-- Routes that AWS did not accept, and why.
SELECT
  rejected_because,
  connection_id,
  max(connection_name) AS connection_name,
  count(*) AS times,
  count(DISTINCT prefix) AS prefixes,
  max(time) AS last_time
FROM vpn_events
WHERE dt BETWEEN '2026-01-15' AND '2026-01-21'
  AND kind = 'bgp.route'
  AND action = 'rejected'
GROUP BY rejected_because, connection_id
ORDER BY times DESC, rejected_because, connection_id
