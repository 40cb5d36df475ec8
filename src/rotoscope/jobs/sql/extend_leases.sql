-- While the server was away no heartbeat could arrive: every running job gets one whole lease.
UPDATE jobs SET lease_until = epoch() + :lease_s
 WHERE state = 'in_progress' AND lease_until < epoch() + :lease_s;
