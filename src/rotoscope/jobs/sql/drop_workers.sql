DELETE FROM workers WHERE seen_at < epoch() - 86400;
