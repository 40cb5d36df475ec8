SELECT id FROM jobs WHERE id IN (SELECT value FROM {ids});
