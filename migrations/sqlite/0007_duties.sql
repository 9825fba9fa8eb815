-- What one process at a time does for all of them: the audit, and the gauges that cost a look at many rows. A duty
-- is its owner's until `lease_until`, and then whoever's asks first.
CREATE TABLE duties (
    name        TEXT NOT NULL PRIMARY KEY,
    owner       TEXT NOT NULL,
    lease_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
