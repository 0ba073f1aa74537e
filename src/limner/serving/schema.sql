CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,
    number INTEGER UNIQUE NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    request TEXT NOT NULL,
    likeness TEXT,
    created REAL NOT NULL,
    started REAL,
    ended REAL,
    error TEXT,
    attempts INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, number);
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
