-- Prefixes that came over another AS path than before, from the same tunnel.
SELECT
  time,
  connection_id,
  tunnel_outside_ip,
  prefix,
  before,
  as_path,
  cardinality(as_path_asns) AS hops
FROM (
  SELECT
    *,
    lag(as_path) OVER (PARTITION BY connection_id, tunnel_outside_ip, prefix ORDER BY time, id) AS before
  FROM vpn_events
  WHERE dt BETWEEN '2026-01-15' AND '2026-01-21'
    AND kind = 'bgp.route'
    AND action IN ('advertised', 'updated')
    AND as_path IS NOT NULL
)
WHERE before <> as_path
ORDER BY time, connection_id, tunnel_outside_ip, prefix, id
