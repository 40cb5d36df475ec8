-- While the server was away no heartbeat could arrive: every running job gets one whole lease. Nor
-- more: one that ends later was given before the machine's clock was set back.
UPDATE jobs SET lease_until = epoch() + :lease_s WHERE state = 'in_progress';
