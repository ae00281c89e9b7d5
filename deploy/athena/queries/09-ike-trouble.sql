-- What went wrong in IKE, by connection and customer gateway.
SELECT
  action,
  account_id,
  connection_id,
  max(customer_gateway_ip) AS customer_gateway_ip,
  max(customer_gateway_device) AS customer_gateway_device,
  count(*) AS times,
  min(time) AS first_time,
  max(time) AS last_time
FROM vpn_events
WHERE dt BETWEEN '2026-01-15' AND '2026-01-21'
  AND kind = 'ike'
  AND severity_number >= 3
GROUP BY action, account_id, connection_id
ORDER BY times DESC, action, connection_id
