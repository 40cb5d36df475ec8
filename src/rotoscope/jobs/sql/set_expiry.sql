-- After an upgrade, or where retention was off: ended jobs get the time that they are kept.
UPDATE jobs SET expires_at = finished_at + CAST(:retention_s AS DOUBLE PRECISION)
 WHERE finished_at IS NOT NULL AND expires_at IS NULL;
