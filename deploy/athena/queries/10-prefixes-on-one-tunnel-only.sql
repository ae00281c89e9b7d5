-- Prefixes that only one tunnel of a connection has by the end of the last day: with that tunnel they are gone.
WITH last AS (
  SELECT connection_id, tunnel_outside_ip, prefix, action
  FROM (
    SELECT
      *,
      row_number() OVER (PARTITION BY connection_id, tunnel_outside_ip, prefix ORDER BY time DESC, id DESC) AS place
    FROM vpn_events
    WHERE dt BETWEEN '2026-01-15' AND '2026-01-21'
      AND kind = 'bgp.route'
      AND connection_id IS NOT NULL
      AND prefix IS NOT NULL
  )
  WHERE place = 1
)
SELECT
  connection_id,
  prefix,
  min(tunnel_outside_ip) AS tunnel_outside_ip
FROM last
WHERE action IN ('advertised', 'updated')
GROUP BY connection_id, prefix
HAVING count(*) = 1
ORDER BY connection_id, prefix
