-- Schema 2, as the toolkit wrote it then.
CREATE TABLE meta (
    -- cage, day (YYYY-MM-DD, UTC), day_start_ns (its midnight, UTC ns since 1970),
    -- ethogram (JSON: behaviours in the order of labels and probabilities).
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE session (
    -- One row per start of the daemon that wrote to this file: the provenance of its rows.
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
    row_interval_ns INTEGER NOT NULL, -- time that one row stands for
    first_index INTEGER,            -- source index of the session's first row in this file
    start_ns INTEGER NOT NULL,      -- UTC ns
    stop_ns INTEGER,                -- UTC ns; NULL while it runs and after a kill or power loss
    stop_reason TEXT                -- stopped, end-of-source, day-end, or the error
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
    -- Maximal runs of rows with one label. The newest is extended at every commit.
    start_ns INTEGER PRIMARY KEY,   -- UTC ns since 1970
    stop_ns INTEGER NOT NULL,
    behaviour INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    probability REAL NOT NULL,      -- mean fused probability of the behaviour over the rows
    continued_from INTEGER NOT NULL, -- 1: began the day before
    continued_to INTEGER NOT NULL   -- 1: goes on the day after
);

CREATE TABLE unobserved (
    -- Time without rows. Observed and unobserved time cover a log from its first row on exactly once. Intervals are
    -- cut at midnight; those of days on which no daemon ran lie in the first file after them.
    start_ns INTEGER PRIMARY KEY,   -- UTC ns since 1970
    stop_ns INTEGER NOT NULL,
    reason TEXT NOT NULL CHECK (reason IN ('camera-lost', 'daemon-down', 'overload', 'frozen', 'dark', 'saturated', 'blurred', 'shifted', 'obstructed', 'clock-unsynchronised', 'end-of-source'))
);

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
PRAGMA application_id = 1835822951;
PRAGMA user_version = 2;
