-- "bgst": the file is a state of bootgate.
PRAGMA application_id = 1650946932;

-- Addresses. `ip` and `mac` are bytes; `ip` begins with 4 or 6, so that its order is that of addresses. Times are
-- microseconds since 1970; the largest integer means never.
CREATE TABLE leases (
    ip      BLOB    NOT NULL PRIMARY KEY,
    mac     BLOB    NOT NULL,
    subnet  TEXT    NOT NULL,
    state   INTEGER NOT NULL, -- 0 leased, 1 ended, 2 quarantined
    ends    INTEGER NOT NULL,
    changed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX leases_of_machine ON leases (mac, subnet) WHERE state = 0;

-- `body` is the machine as JSON; the other columns repeat what is searched by.
CREATE TABLE machines (
    mac        BLOB    NOT NULL PRIMARY KEY,
    name       TEXT    UNIQUE,
    discovered INTEGER NOT NULL,
    body       TEXT    NOT NULL
) STRICT;

CREATE INDEX machines_discovered ON machines (discovered) WHERE discovered = 1;

-- `nonce` is the one given last; it stays when the attempt is finished, so that a repeated completion is known.
-- AUTOINCREMENT: the number of a forgotten attempt never comes back.
CREATE TABLE attempts (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    mac      BLOB    NOT NULL,
    nonce    TEXT    UNIQUE,
    flash    INTEGER NOT NULL, -- 0 not begun, 1 begun, 2 completed
    finished INTEGER,
    body     TEXT    NOT NULL
) STRICT;

CREATE INDEX attempts_of_machine ON attempts (mac, id);
CREATE UNIQUE INDEX attempts_open ON attempts (mac) WHERE finished IS NULL;

CREATE TABLE events (
    attempt INTEGER NOT NULL REFERENCES attempts (id) ON DELETE CASCADE,
    seq     INTEGER NOT NULL,
    body    TEXT    NOT NULL,
    PRIMARY KEY (attempt, seq)
) STRICT, WITHOUT ROWID;
