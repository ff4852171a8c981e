BEGIN TRANSACTION;
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
INSERT INTO "attempts" VALUES(1,'0123456789ab',1,'my-box','first','lost',1000.6,1001.0,'gone','{}','{}');
INSERT INTO "attempts" VALUES(2,'0123456789ab',2,'local','next','running',1001.5,NULL,NULL,'{}','{}');
INSERT INTO "attempts" VALUES(3,'ba9876543210',1,'local','only','done',900.1,904.9,'','{}','{}');
CREATE TABLE hashes (
        path BLOB PRIMARY KEY,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        sha256 TEXT NOT NULL
    ) STRICT;
INSERT INTO "hashes" VALUES(X'2F762F612E6D7034',10,20,30,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa');
CREATE TABLE health (
        target TEXT PRIMARY KEY,
        identity TEXT NOT NULL,
        failures INTEGER NOT NULL,
        reason TEXT NOT NULL,
        until REAL NOT NULL,
        probe TEXT NOT NULL
    ) STRICT;
INSERT INTO "health" VALUES('my-box','[]',2,'gone',2000.0,'{"reachable": false}');
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
INSERT INTO "items" VALUES('0123456789ab',0,X'2F762F612E6D7034',10,20,30,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','{"container": "mp4"}',0.5,NULL,NULL,'{}');
INSERT INTO "items" VALUES('ba9876543210',0,X'2F762F622E6D7034',11,21,31,'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','{}',1.0,NULL,NULL,'{"jitter": 1}');
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
INSERT INTO "jobs" VALUES('0123456789ab','stabilize','/p/stabilize.py','{"smoothing": 15}','{"pixels": 1}','auto',1,0,0,'[]','["offload", "stabilize", "a.mp4"]','key1','running',1000.5,NULL,2,NULL);
INSERT INTO "jobs" VALUES('ba9876543210','stabilize','/p/stabilize.py','{}','{}','local',1,1,1,'["report"]','[]','key2','done',900.0,905.0,3,'');
CREATE TABLE logs (
        attempt INTEGER PRIMARY KEY REFERENCES attempts ON DELETE CASCADE,
        text TEXT NOT NULL
    ) STRICT;
INSERT INTO "logs" VALUES(3,'said');
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
INSERT INTO "outputs" VALUES('0123456789ab',0,0,'stabilized.mp4',X'2F762F612E73746162696C697A65642E6D7034',5,'cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','intent',2);
INSERT INTO "outputs" VALUES('ba9876543210',0,0,'stabilized.mp4',X'2F762F622E73746162696C697A65642E6D7034',6,'dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd','published',1);
CREATE INDEX jobs_key ON jobs (key, state);
CREATE INDEX jobs_created ON jobs (created);
CREATE INDEX attempts_job ON attempts (job);
COMMIT;
PRAGMA user_version=1;
