-- The ten longest times that a tunnel's BGP session was down. An outage that has not ended by the last day has no end
-- and is listed first.
WITH edges AS (
  SELECT
    connection_id,
    connection_name,
    tunnel_outside_ip,
    time,
    transition,
    lag(transition) OVER (PARTITION BY connection_id, tunnel_outside_ip ORDER BY time, id) AS before,
    min(CASE WHEN transition = 'up' THEN time END) OVER (
      PARTITION BY connection_id, tunnel_outside_ip ORDER BY time, id
      ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
    ) AS up_at
  FROM vpn_events
  WHERE dt BETWEEN '2026-01-15' AND '2026-01-21'
    AND kind = 'bgp.session'
    AND transition IN ('up', 'down')
)
SELECT
  connection_id,
  connection_name,
  tunnel_outside_ip,
  time AS down_at,
  up_at,
  round(to_unixtime(up_at) - to_unixtime(time), 3) AS seconds
FROM edges
WHERE transition = 'down'
  AND coalesce(before, 'up') = 'up'
ORDER BY seconds DESC NULLS FIRST, down_at, connection_id, tunnel_outside_ip
LIMIT 10
