UPDATE jobs SET passed_over = passed_over + 1 WHERE id = :id AND state = 'in_queue';
