UPDATE deliveries
   SET state = CASE WHEN CAST(:done AS INTEGER) = 1 THEN 'delivered'
                    WHEN CAST(:next_in_s AS DOUBLE PRECISION) IS NULL THEN 'failed'
                    ELSE 'waiting' END,
       next_at = epoch() + coalesce(CAST(:next_in_s AS DOUBLE PRECISION), 0),
       done_at = CASE WHEN CAST(:done AS INTEGER) = 1
                        OR CAST(:next_in_s AS DOUBLE PRECISION) IS NULL THEN epoch() END,
       last_status = CAST(:status AS INTEGER), last_note = :note
 WHERE id = :id AND token = :token AND state = 'sending'
RETURNING id;
