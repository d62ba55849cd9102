-- What a person notes about a version. The newest note counts; an empty one takes it away.

CREATE TABLE version_notes (
  note_id    INTEGER PRIMARY KEY,
  version    INTEGER NOT NULL REFERENCES policy_versions (version) ON DELETE RESTRICT,
  body       TEXT NOT NULL CHECK (length(body) <= 2000),
  created_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX version_notes_version ON version_notes (version, note_id);

CREATE TRIGGER version_notes_no_update BEFORE UPDATE ON version_notes
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER version_notes_no_delete BEFORE DELETE ON version_notes
BEGIN SELECT RAISE(ABORT, 'append-only'); END;

PRAGMA user_version = 5;
