"""What a day's file holds: the SQL, its version, and the codes that its columns use.

A file is one cage's UTC day. It is made to be read without this program too: the comments below are stored in it
(``sqlite3 FILE .schema``), and the view ``frames`` gives every row with its dates, names and session.

A row of ``frame`` is small because a day has 2.6 million: its key is its time, the monotonic time and the boot are
the session's, and the index counts from the session's first row in the file.
"""

from __future__ import annotations

from enum import Enum, IntFlag

SCHEMA_VERSION = 3
"""Written to ``PRAGMA user_version``."""

APPLICATION_ID = 0x6D6C6F67
"""Written to ``PRAGMA application_id``: tells a behaviour log from any other SQLite file."""

NS_PER_DAY = 86_400_000_000_000


class Reason(str, Enum):
    """Why a stretch of time has no rows."""

    CAMERA_LOST = "camera-lost"
    DAEMON_DOWN = "daemon-down"
    OVERLOAD = "overload"
    ENGINE_FAILED = "engine-failed"
    FROZEN = "frozen"
    DARK = "dark"
    SATURATED = "saturated"
    BLURRED = "blurred"
    SHIFTED = "shifted"
    OBSTRUCTED = "obstructed"
    CLOCK_UNSYNCHRONISED = "clock-unsynchronised"
    END_OF_SOURCE = "end-of-source"
    LOG_UNWRITABLE = "log-unwritable"
    """The disk took no rows for longer than the daemon could hold them."""
    LOG_DAMAGED = "log-damaged"
    """What was logged is in a file that was set aside as damaged, as far as it can be had at all."""


class Quality(IntFlag):
    """What is to be said about a row; the flags add up. 0: nothing."""

    PADDED = 1
    """The clip repeats frames, because its segment began or ended too near."""
    UNCERTAIN = 2
    """No behaviour was probable enough: the row has no label."""
    SUMMARY = 128
    """The row sums up to a second of frames; never stored, the reader says it of what is in table ``second``."""


class Level(str, Enum):
    """How much of a session is kept."""

    FRAMES = "frames"
    """A row per classified frame."""
    BOUTS = "bouts"
    """Bouts, and a summary of every second."""


UNOBSERVED = f"""\
CREATE TABLE unobserved (
    -- Time without rows. Observed and unobserved time cover a log from its first row on exactly once. Intervals are
    -- cut at midnight; those of days on which no daemon ran lie in the first file after them.
    start_ns INTEGER PRIMARY KEY,   -- UTC ns since 1970
    stop_ns INTEGER NOT NULL,
    reason TEXT NOT NULL CHECK (reason IN ({", ".join(f"'{reason.value}'" for reason in Reason)}))
)"""

PACE = """\
CREATE TABLE pace (
    -- Changes of the time that a row stands for, as when overload makes a daemon classify fewer frames: the row of this
    -- time and those after it. A session begins with its own row_interval_ns.
    time_ns INTEGER PRIMARY KEY,    -- a row's: ns since the file's UTC midnight
    row_interval_ns INTEGER NOT NULL
)"""

SECOND = """\
CREATE TABLE second (
    -- Sessions of level "bouts" have these instead of rows in frame. A summary ends with the UTC second, where rows do
    -- and where their interval changes; it stands for the time from time_ns to the next summary or unobserved interval.
    time_ns INTEGER PRIMARY KEY,    -- capture time of its first row, ns since the file's UTC midnight
    session INTEGER NOT NULL,
    position INTEGER NOT NULL,      -- of its first row: source index - session.first_index
    rows INTEGER NOT NULL,
    duration_ns INTEGER NOT NULL,   -- from its first row to the end of its last one's time
    probabilities BLOB NOT NULL,    -- one byte per behaviour: round(255 * mean fused probability)
    label INTEGER,                  -- the label of most rows, of equals the first behaviour's; NULL: none had one
    quality INTEGER NOT NULL        -- the flags that any of its rows has
)"""

NOTE = """\
CREATE TABLE note (
    -- What a person should know about this file.
    utc_ns INTEGER NOT NULL,
    kind TEXT NOT NULL,             -- quarantine: a damaged file was set aside and this one begun
    text TEXT NOT NULL,
    PRIMARY KEY (utc_ns, kind, text)
) WITHOUT ROWID"""

SCHEMA = f"""
CREATE TABLE meta (
    -- cage, day (YYYY-MM-DD, UTC), day_start_ns (its midnight, UTC ns since 1970),
    -- ethogram (JSON: behaviours in the order of labels and probabilities).
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE session (
    -- One row per start of the daemon that wrote to this file, and per change of its engines: the provenance of rows.
    id INTEGER PRIMARY KEY,         -- counts from 0 in each file
    uuid TEXT NOT NULL,             -- the same in every file that this start of the daemon wrote
    boot_id TEXT NOT NULL,          -- the boot whose monotonic clock dates the rows
    host TEXT NOT NULL,
    toolkit_version TEXT NOT NULL,
    bundle_name TEXT NOT NULL,
    bundle_sha256 TEXT NOT NULL,
    engines TEXT NOT NULL,          -- JSON: each stream's engine
    config_sha256 TEXT NOT NULL,
    config TEXT NOT NULL,           -- JSON: the configuration as it was used, never a secret
    utc_offset_ns INTEGER NOT NULL, -- UTC ns = monotonic ns + utc_offset_ns, for every row of the session
    row_interval_ns INTEGER NOT NULL, -- time that one row stands for, where pace does not say otherwise
    first_index INTEGER,            -- source index of the session's first row in this file
    start_ns INTEGER NOT NULL,      -- UTC ns
    stop_ns INTEGER,                -- UTC ns; NULL while it runs and after a kill or power loss
    stop_reason TEXT,               -- stopped, end-of-source, day-end, or the error
    level TEXT NOT NULL DEFAULT 'frames' -- frames: a row per classified frame; bouts: bouts and summaries of seconds
);

CREATE TABLE frame (
    -- One row per classified frame. It stands for the time from time_ns to the next row or unobserved interval.
    time_ns INTEGER PRIMARY KEY,    -- capture time, ns since the file's UTC midnight
    session INTEGER NOT NULL,
    position INTEGER NOT NULL,      -- source index - session.first_index
    probabilities BLOB NOT NULL,    -- one byte per behaviour: round(255 * fused probability)
    label INTEGER,                  -- position in the ethogram; NULL: none
    quality INTEGER NOT NULL        -- 0, or the sum of 1 (padded clip) and 2 (uncertain: no label)
);

CREATE TABLE bout (
    -- Maximal runs of rows with one decided label: frame.label, unless the configuration names a decision filter. The
    -- newest is extended at every commit.
    start_ns INTEGER PRIMARY KEY,   -- UTC ns since 1970
    stop_ns INTEGER NOT NULL,
    behaviour INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    probability REAL NOT NULL,      -- mean fused probability of the behaviour over the rows
    continued_from INTEGER NOT NULL, -- 1: began the day before
    continued_to INTEGER NOT NULL   -- 1: goes on the day after
);

{UNOBSERVED};

{PACE};

{SECOND};

{NOTE};

CREATE TABLE clock (
    -- What the system's clocks said: at the start, then every minute.
    monotonic_ns INTEGER NOT NULL,
    session INTEGER NOT NULL,
    utc_ns INTEGER NOT NULL,
    synchronised INTEGER,           -- 1 or 0, by the kernel's NTP state; NULL: unknown
    step_ns INTEGER NOT NULL        -- utc_ns - monotonic_ns - session.utc_offset_ns: by how much rows are misdated
);

CREATE VIEW frames AS
SELECT
    day.value + frame.time_ns AS utc_ns,
    day.value + frame.time_ns - session.utc_offset_ns AS monotonic_ns,
    session.boot_id AS boot_id,
    frame.position + session.first_index AS source_index,
    json_extract(ethogram.value, '$.behaviours[' || frame.label || '].name') AS behaviour,
    frame.probabilities AS probabilities,
    frame.quality AS quality,
    session.uuid AS session_uuid
FROM frame
JOIN session ON session.id = frame.session
JOIN meta AS day ON day.key = 'day_start_ns'
JOIN meta AS ethogram ON ethogram.key = 'ethogram';
"""
