-- All tables, in an empty database.
{schema}
INSERT INTO schema_version (version) VALUES (2);
