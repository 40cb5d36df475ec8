UPDATE deliveries SET state = 'waiting', next_at = epoch(), done_at = NULL
 WHERE id = :id AND state <> 'sending'
RETURNING id;
