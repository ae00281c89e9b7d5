-- The lake without upstream's duplicates: CloudWatch Logs delivers at least once, and an event that it sends twice has
-- the same id, and so the same day, both times. tunnelog itself repeats nothing in S3. Ask this view, not the table.
CREATE OR REPLACE VIEW vpn_events AS
SELECT *
FROM (
  SELECT
    *,
    row_number() OVER (PARTITION BY dt, id ORDER BY observed, origin_shard, origin_sequence) AS copy
  FROM vpn_events_raw
)
WHERE copy = 1
