-- From here on newcomers of this priority stand behind the job that was just handed out.
UPDATE pools
   SET vtime = CASE WHEN CAST(:priority AS INTEGER) < 0 OR vtime > CAST(:rank AS DOUBLE PRECISION)
                    THEN vtime ELSE CAST(:rank AS DOUBLE PRECISION) END,
       low_vtime = CASE WHEN CAST(:priority AS INTEGER) = 0
                          OR low_vtime > CAST(:rank AS DOUBLE PRECISION)
                        THEN low_vtime ELSE CAST(:rank AS DOUBLE PRECISION) END
 WHERE name = :pool;
