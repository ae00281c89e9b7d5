-- How often BGP sessions went down, by site and day. `site` is a tag of the connection, or a column of the overlay.
SELECT
  dt,
  coalesce(element_at(tags, 'site'), 'unknown') AS site,
  count(*) AS downs,
  count(DISTINCT connection_id) AS connections
FROM vpn_events
WHERE dt BETWEEN '2026-01-15' AND '2026-01-21'
  AND kind = 'bgp.session'
  AND transition = 'down'
GROUP BY 1, 2
ORDER BY dt, downs DESC, site
