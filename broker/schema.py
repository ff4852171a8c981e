"""The journal's tables, as a list of steps: step N takes a journal from version N to N + 1. Only ever appended to."""

STEPS = (
    """
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY,
        service TEXT NOT NULL,
        script TEXT NOT NULL,
        params TEXT NOT NULL,
        limits TEXT NOT NULL,
        target TEXT NOT NULL,
        fallback INTEGER NOT NULL,
        overwrite INTEGER NOT NULL,
        keep INTEGER NOT NULL,
        extras TEXT NOT NULL,
        command TEXT NOT NULL,
        key TEXT NOT NULL,
        state TEXT NOT NULL,
        created REAL NOT NULL,
        ended REAL,
        attempt INTEGER,
        error TEXT
    ) STRICT;
    CREATE INDEX jobs_key ON jobs (key, state);
    CREATE INDEX jobs_created ON jobs (created);
    CREATE TABLE items (
        job TEXT NOT NULL REFERENCES jobs ON DELETE CASCADE,
        idx INTEGER NOT NULL,
        source BLOB NOT NULL,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        options TEXT NOT NULL,
        progress REAL NOT NULL DEFAULT 0,
        kind TEXT,
        error TEXT,
        measured TEXT NOT NULL DEFAULT '{}',
        PRIMARY KEY (job, idx)
    ) STRICT;
    CREATE TABLE outputs (
        job TEXT NOT NULL REFERENCES jobs ON DELETE CASCADE,
        idx INTEGER NOT NULL,
        number INTEGER NOT NULL,
        name TEXT NOT NULL,
        dest BLOB NOT NULL,
        size INTEGER,
        sha256 TEXT,
        state TEXT NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'intent', 'published')),
        attempt INTEGER,
        PRIMARY KEY (job, idx, name)
    ) STRICT;
    CREATE TABLE attempts (
        id INTEGER PRIMARY KEY,
        job TEXT NOT NULL REFERENCES jobs ON DELETE CASCADE,
        number INTEGER NOT NULL,
        target TEXT NOT NULL,
        reason TEXT NOT NULL,
        state TEXT NOT NULL DEFAULT 'running',
        started REAL NOT NULL,
        ended REAL,
        error TEXT,
        versions TEXT NOT NULL DEFAULT '{}',
        timings TEXT NOT NULL DEFAULT '{}'
    ) STRICT;
    CREATE INDEX attempts_job ON attempts (job);
    CREATE TABLE logs (
        attempt INTEGER PRIMARY KEY REFERENCES attempts ON DELETE CASCADE,
        text TEXT NOT NULL
    ) STRICT;
    CREATE TABLE hashes (
        path BLOB PRIMARY KEY,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        sha256 TEXT NOT NULL
    ) STRICT;
    CREATE TABLE health (
        target TEXT PRIMARY KEY,
        identity TEXT NOT NULL,
        failures INTEGER NOT NULL,
        reason TEXT NOT NULL,
        until REAL NOT NULL,
        probe TEXT NOT NULL
    ) STRICT;
    """,
    """
    ALTER TABLE jobs DROP COLUMN attempt;
    ALTER TABLE jobs ADD COLUMN folder BLOB;
    ALTER TABLE jobs ADD COLUMN detached INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE jobs ADD COLUMN unwanted INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE jobs ADD COLUMN term INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE jobs ADD COLUMN exit_code INTEGER;
    ALTER TABLE attempts ADD COLUMN remains INTEGER NOT NULL DEFAULT 0;
    UPDATE attempts SET remains = 1 WHERE state IN ('running', 'lost');
    ALTER TABLE outputs ADD COLUMN term INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE checkpoints (
        job TEXT NOT NULL REFERENCES jobs ON DELETE CASCADE,
        idx INTEGER NOT NULL,
        name TEXT NOT NULL,
        size INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        PRIMARY KEY (job, idx, name)
    ) STRICT
    """,
    """
    ALTER TABLE jobs ADD COLUMN prepare TEXT NOT NULL DEFAULT 'null';
    ALTER TABLE jobs ADD COLUMN models TEXT NOT NULL DEFAULT '{}';
    ALTER TABLE jobs ADD COLUMN digests TEXT NOT NULL DEFAULT '{}';
    ALTER TABLE jobs ADD COLUMN offline INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE items ADD COLUMN payload TEXT NOT NULL DEFAULT 'null';
    ALTER TABLE attempts ADD COLUMN prepares INTEGER NOT NULL DEFAULT 0
    """,
    """
    ALTER TABLE jobs ADD COLUMN contract TEXT NOT NULL DEFAULT 'bytes';
    UPDATE jobs SET contract = 'close' WHERE service IN ('transcribe', 'tag', 'caption', 'upscale', 'search');
    ALTER TABLE jobs ADD COLUMN unit TEXT NOT NULL DEFAULT '';
    ALTER TABLE jobs ADD COLUMN cache INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE jobs ADD COLUMN keeps_results INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE jobs ADD COLUMN spread INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE jobs ADD COLUMN waits TEXT NOT NULL DEFAULT '';
    ALTER TABLE jobs ADD COLUMN deadline REAL;
    ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE jobs ADD COLUMN session TEXT NOT NULL DEFAULT '';
    ALTER TABLE jobs ADD COLUMN hint TEXT NOT NULL DEFAULT '';
    ALTER TABLE items ADD COLUMN amount REAL;
    ALTER TABLE attempts ADD COLUMN items TEXT NOT NULL DEFAULT 'null';
    ALTER TABLE attempts ADD COLUMN forecast TEXT NOT NULL DEFAULT 'null';
    CREATE TABLE waiting (
        target TEXT NOT NULL,
        job TEXT NOT NULL REFERENCES jobs ON DELETE CASCADE,
        PRIMARY KEY (target, job)
    ) STRICT;
    CREATE INDEX jobs_queue ON jobs (detached, target, waits, offline, priority, session, deadline, id)
        WHERE state IN ('queued', 'running');
    CREATE INDEX jobs_folder ON jobs (folder);
    CREATE INDEX attempts_running ON attempts (target, job) WHERE state = 'running';
    CREATE INDEX attempts_remains ON attempts (remains);
    ALTER TABLE items ADD COLUMN speed REAL NOT NULL DEFAULT 0;
    ALTER TABLE items ADD COLUMN eta REAL NOT NULL DEFAULT 0;
    CREATE TABLE observations (
        id INTEGER PRIMARY KEY,
        at REAL NOT NULL,
        target TEXT NOT NULL,
        identity TEXT NOT NULL,
        service TEXT NOT NULL,
        kind TEXT NOT NULL,
        what TEXT NOT NULL,
        amount REAL NOT NULL,
        seconds REAL NOT NULL
    ) STRICT;
    CREATE INDEX observations_of ON observations (target, service, what);
    CREATE TABLE sent (
        target TEXT NOT NULL,
        identity TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        at REAL NOT NULL,
        PRIMARY KEY (target, identity, sha256)
    ) STRICT;
    CREATE TABLE results (
        key TEXT NOT NULL,
        name TEXT NOT NULL,
        size INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        service TEXT NOT NULL,
        kind TEXT NOT NULL,
        target TEXT NOT NULL,
        made REAL NOT NULL,
        measured TEXT NOT NULL,
        origin TEXT NOT NULL,
        used REAL NOT NULL,
        PRIMARY KEY (key, name)
    ) STRICT;
    CREATE INDEX results_of ON results (service, target);
    CREATE INDEX results_used ON results (used);
    ALTER TABLE hashes ADD COLUMN ctime_ns INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE items ADD COLUMN ctime_ns INTEGER NOT NULL DEFAULT 0
    """,
)
