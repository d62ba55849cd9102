-- Training phases (pretrain, sft, reward, ppo): what was run, what it measured, what came of it.
-- A run without an end may go on. The versions that phases make are rounds like any other.

-- run_key = SHA-256 of all that decides the result: kind, base, parent, data, settings, seed.
CREATE TABLE phase_runs (
  run_id      INTEGER PRIMARY KEY,
  run_key     TEXT NOT NULL CHECK (length(run_key) = 64),
  kind        TEXT NOT NULL,
  parent      INTEGER NOT NULL REFERENCES policy_versions (version) ON DELETE RESTRICT,
  base_sha256 TEXT NOT NULL CHECK (length(base_sha256) = 64),
  data_sha256 TEXT NOT NULL CHECK (length(data_sha256) = 64),
  config_json TEXT NOT NULL,
  seed        INTEGER NOT NULL,
  created_ms  INTEGER NOT NULL
) STRICT;
CREATE INDEX phase_runs_key ON phase_runs (run_key);

-- version is set where a policy version came of it; product names a folder where something else did.
CREATE TABLE phase_ends (
  run_id     INTEGER PRIMARY KEY REFERENCES phase_runs (run_id) ON DELETE RESTRICT,
  status     TEXT NOT NULL CHECK (status IN ('finished', 'abandoned')),
  version    INTEGER REFERENCES policy_versions (version) ON DELETE RESTRICT,
  product    TEXT,
  reason     TEXT NOT NULL,
  seconds    REAL NOT NULL CHECK (seconds >= 0.0),
  created_ms INTEGER NOT NULL
) STRICT;

-- A run that goes on from a checkpoint takes the steps after it again, and so their rows.
CREATE TABLE phase_metrics (
  run_id INTEGER NOT NULL REFERENCES phase_runs (run_id) ON DELETE RESTRICT,
  step   INTEGER NOT NULL CHECK (step >= 0),
  name   TEXT NOT NULL,
  value  REAL NOT NULL,
  PRIMARY KEY (run_id, step, name)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER phase_runs_no_update BEFORE UPDATE ON phase_runs
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER phase_runs_no_delete BEFORE DELETE ON phase_runs
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER phase_ends_no_update BEFORE UPDATE ON phase_ends
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER phase_ends_no_delete BEFORE DELETE ON phase_ends
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
PRAGMA user_version = 6;
