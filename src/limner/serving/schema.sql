CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,
    number INTEGER UNIQUE NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    request TEXT NOT NULL,
    batch_key TEXT,
    created REAL NOT NULL,
    started REAL,
    ended REAL,
    error TEXT,
    attempts INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, number);
CREATE INDEX IF NOT EXISTS jobs_by_end ON jobs (ended) WHERE ended IS NOT NULL;
CREATE TABLE IF NOT EXISTS pictures (
    id TEXT PRIMARY KEY,
    job TEXT REFERENCES jobs (id) ON DELETE CASCADE,
    place INTEGER NOT NULL,
    created REAL NOT NULL,
    mime TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    recipe TEXT,
    data BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS pictures_by_job ON pictures (job, place);
CREATE INDEX IF NOT EXISTS pictures_made ON pictures (created, place) WHERE job IS NOT NULL;

-- Which job's request names which picture.
CREATE TABLE IF NOT EXISTS uses (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    picture TEXT NOT NULL REFERENCES pictures (id) ON DELETE CASCADE,
    PRIMARY KEY (job, picture)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS uses_by_picture ON uses (picture);

-- Uploads that no job's request names. The triggers keep it, so that the cleaner need not search for them.
CREATE TABLE IF NOT EXISTS unused (
    picture TEXT PRIMARY KEY REFERENCES pictures (id) ON DELETE CASCADE,
    created REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS unused_by_age ON unused (created);
CREATE TRIGGER IF NOT EXISTS uploaded AFTER INSERT ON pictures WHEN NEW.job IS NULL BEGIN
    INSERT INTO unused (picture, created) VALUES (NEW.id, NEW.created);
END;
CREATE TRIGGER IF NOT EXISTS used AFTER INSERT ON uses BEGIN
    DELETE FROM unused WHERE picture = NEW.picture;
END;
CREATE TRIGGER IF NOT EXISTS used_no_more AFTER DELETE ON uses
WHEN NOT EXISTS (SELECT 1 FROM uses WHERE picture = OLD.picture) BEGIN
    INSERT OR IGNORE INTO unused (picture, created)
    SELECT id, created FROM pictures WHERE id = OLD.picture AND job IS NULL;
END;
