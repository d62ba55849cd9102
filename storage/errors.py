"""What can go wrong with what we keep. Each message is a sentence that says what to do.

StorageError
├── DataFolderError            unwritable, in use by another twofold, on an unfit file system
│   └── OtherModelError        it was made with another base model
├── DiskError                  the disk refused a read or a write
│   └── DiskFullError          no space: nothing of the transaction was saved
├── DatabaseError              the file itself
│   ├── BusyError              somebody else held its lock for more than five seconds
│   ├── DamagedDatabaseError   malformed pages
│   ├── BrokenChainError       an answer or a text was edited behind our back
│   ├── ForeignDatabaseError   not ours
│   ├── NewerDatabaseError     written by a newer twofold
│   └── UnfitSqliteError       the SQLite library is too old
├── InvariantError             the schema refused a row that would contradict the others
├── UnknownError               no such row
│   ├── UnknownConversationError
│   ├── UnknownTurnError
│   ├── UnknownComparisonError
│   ├── UnknownSlateError
│   └── UnknownVersionError
├── UnansweredError            an answer cannot be changed before there is one
├── NotTeachingError           only a dialogue that teaches is a demonstration
├── NoteTooLongError           a note about a version
├── NotServableError           this version may not speak (again)
└── AdapterError               a round's folder is broken
    └── UnreadableError        it cannot be read now, and may be fine
"""


class StorageError(Exception):
    """Anything below: ``str()`` of it may be shown to a person."""


class DataFolderError(StorageError):
    pass


class OtherModelError(DataFolderError):
    pass


class DiskError(StorageError):
    pass


class DiskFullError(DiskError):
    pass


class DatabaseError(StorageError):
    pass


class BusyError(DatabaseError):
    pass


class DamagedDatabaseError(DatabaseError):
    pass


class BrokenChainError(DatabaseError):
    pass


class ForeignDatabaseError(DatabaseError):
    pass


class NewerDatabaseError(DatabaseError):
    pass


class UnfitSqliteError(DatabaseError):
    pass


class InvariantError(StorageError):
    pass


class UnknownError(StorageError):
    pass


class UnknownConversationError(UnknownError):
    pass


class UnknownTurnError(UnknownError):
    pass


class UnknownComparisonError(UnknownError):
    pass


class UnknownSlateError(UnknownError):
    pass


class UnknownVersionError(UnknownError):
    pass


class UnansweredError(StorageError):
    pass


class NotTeachingError(StorageError):
    pass


class NoteTooLongError(StorageError):
    pass


class NotServableError(StorageError):
    pass


class AdapterError(StorageError):
    pass


class UnreadableError(AdapterError):
    pass
