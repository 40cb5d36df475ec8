-- What became of the attempt with this token, until another one is made.
SELECT state FROM jobs WHERE id = :id AND token = :token;
