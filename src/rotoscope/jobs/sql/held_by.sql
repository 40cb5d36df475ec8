-- What a claim with this token got, if its answer was lost.
SELECT * FROM jobs WHERE pool = :pool AND state = 'in_progress' AND token = :token;
