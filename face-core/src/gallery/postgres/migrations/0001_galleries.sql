-- Several galleries in one database. Every key starts with gallery_id, and a template's key holds its id: so the tables can be
-- spread by gallery, and the templates by their ids too (see the chapter "PostgreSQL" of the manual).

CREATE TABLE face.gallery (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    space jsonb NOT NULL,
    dimension integer NOT NULL CHECK (dimension BETWEEN 1 AND 16000),
    -- The next ids. A change locks this row first: changes of one gallery come one after another.
    next_subject bigint NOT NULL DEFAULT 1,
    next_template bigint NOT NULL DEFAULT 1,
    -- How many there are: counting rows would take as long as a search.
    subjects bigint NOT NULL DEFAULT 0 CHECK (subjects >= 0),
    templates bigint NOT NULL DEFAULT 0 CHECK (templates >= 0),
    created_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

CREATE TABLE face.subject (
    gallery_id bigint NOT NULL REFERENCES face.gallery ON DELETE CASCADE,
    id bigint NOT NULL CHECK (id > 0),
    name text COLLATE "C" NOT NULL,
    metadata jsonb NOT NULL,
    PRIMARY KEY (gallery_id, id),
    CONSTRAINT subject_name UNIQUE (gallery_id, name)
);

CREATE TABLE face.template (
    gallery_id bigint NOT NULL,
    id bigint NOT NULL CHECK (id > 0),
    subject_id bigint NOT NULL,
    quality real,
    source text,
    enrolled_at bigint NOT NULL CHECK (enrolled_at >= 0),
    -- Without a number of values: galleries differ in it. An HNSW index holds the rows of one gallery, and fixes it there.
    embedding vector NOT NULL,
    PRIMARY KEY (gallery_id, id),
    FOREIGN KEY (gallery_id, subject_id) REFERENCES face.subject ON DELETE CASCADE
) WITH (toast_tuple_target = 8160); -- Vectors of up to 2000 values lie in the table itself: a scan need not fetch them.

CREATE INDEX template_subject ON face.template (gallery_id, subject_id);

-- The planner needs no samples of these, and samples would outlive the records.
ALTER TABLE face.subject ALTER COLUMN name SET STATISTICS 0, ALTER COLUMN metadata SET STATISTICS 0;
ALTER TABLE face.template ALTER COLUMN source SET STATISTICS 0, ALTER COLUMN embedding SET STATISTICS 0;
