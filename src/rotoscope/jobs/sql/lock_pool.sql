-- Claims of one pool take turns, so that limits cannot be overshot. A statement of its own: what
-- the next one sees is then younger than the lock.
SELECT paused FROM pools WHERE name = :pool {lock};
