-- The first of each key that has one, however long the queue: one look into the index for each.
SELECT jobs.* FROM keys JOIN jobs
    ON jobs.id = (SELECT best.id FROM jobs AS best
                   WHERE best.pool = :pool AND best.key_id = keys.key_id AND best.state = 'in_queue'
                     AND (best.start_by IS NULL OR best.attempt > 0
                          OR best.start_by > (SELECT epoch()))
                   ORDER BY best.priority DESC, best.fair_rank, best.seq
                   LIMIT 1)
