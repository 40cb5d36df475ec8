SELECT epoch() AS now;
