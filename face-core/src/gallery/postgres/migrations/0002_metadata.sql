-- Filters by metadata.
CREATE INDEX subject_metadata ON face.subject USING gin (metadata jsonb_path_ops);
