-- Blobs are files, `blobs/sha256/ab/HEX`, named by their digest; names stand for them. `changed` is when a blob came (again), or
-- when the last name that stood for it went.
CREATE TABLE blobs (
    sha256  BLOB    NOT NULL PRIMARY KEY,
    size    INTEGER NOT NULL,
    created INTEGER NOT NULL,
    changed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- `body` is what an artifact is beside its bytes, as JSON.
CREATE TABLE artifacts (
    name   TEXT NOT NULL PRIMARY KEY,
    sha256 BLOB NOT NULL REFERENCES blobs (sha256),
    body   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX artifacts_of_blob ON artifacts (sha256);

CREATE TABLE aliases (
    name    TEXT    NOT NULL PRIMARY KEY,
    target  TEXT    NOT NULL,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX aliases_of_target ON aliases (target);

-- `body` is the image as JSON; the other columns repeat what is searched by. `index` is a word of SQL.
CREATE TABLE images (
    name         TEXT NOT NULL PRIMARY KEY,
    index_sha256 BLOB NOT NULL REFERENCES blobs (sha256),
    data_sha256  BLOB NOT NULL REFERENCES blobs (sha256),
    body         TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX images_of_index ON images (index_sha256);
CREATE INDEX images_of_data ON images (data_sha256);

-- Bytes of an upload are in `uploads/ID`, of which `durable` count. `finished` is the blob that it became.
CREATE TABLE uploads (
    number   INTEGER PRIMARY KEY,
    id       TEXT    NOT NULL UNIQUE,
    durable  INTEGER NOT NULL,
    started  INTEGER NOT NULL,
    changed  INTEGER NOT NULL,
    finished BLOB,
    body     TEXT    NOT NULL
) STRICT;
