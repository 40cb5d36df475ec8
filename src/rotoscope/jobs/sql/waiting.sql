SELECT count(*) AS jobs FROM jobs WHERE state = 'in_queue';
