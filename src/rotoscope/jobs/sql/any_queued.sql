-- Most claims find nothing; those need no lock.
SELECT 1 AS one FROM jobs WHERE pool = :pool AND state = 'in_queue' LIMIT 1;
