INSERT INTO pools (name, paused) VALUES (:pool, CAST(:paused AS INTEGER))
ON CONFLICT (name) DO UPDATE SET paused = excluded.paused;
