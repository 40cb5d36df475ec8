-- Whether the attempt with this token already brought the job to one of :states (a JSON list).
SELECT 1 FROM jobs
 WHERE id = :id AND token = :token AND state IN (SELECT value FROM json_each(:states));
