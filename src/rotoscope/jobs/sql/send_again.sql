-- Nobody sends while no server runs. What was not tried yet is due, also where the machine's clock
-- was set back since.
UPDATE deliveries SET state = 'waiting', next_at = epoch()
 WHERE state = 'sending' OR (state = 'waiting' AND attempt = 0 AND next_at > epoch());
