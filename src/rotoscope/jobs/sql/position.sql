-- Place in the queue, 1 is next; 0 when the job is not queued. Counting stops at :most.
SELECT count(*) AS place
  FROM (SELECT 1
          FROM jobs AS mine
          JOIN jobs AS ahead ON ahead.state = 'in_queue' AND ahead.seq <= mine.seq
         WHERE mine.id = :id AND mine.state = 'in_queue'
         LIMIT :most) AS places;
