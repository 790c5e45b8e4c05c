//! The keys and the marks, explained on the screen.

/// The lines of the help: they fit into 80 columns and 12 lines.
pub(super) const HELP: [&str; 9] = [
    "  arrows, PgUp, PgDn, Home, End   scroll; left and right move long values",
    "  /         filter by key or value; Enter keeps the filter, Esc removes it",
    "  s         sort by key, or by the last change",
    "  space     pause, and go on with the newest map",
    "  ?  q      this help, which any key closes; quit",
    "  + added, * changed, - removed: for 3 s; then (was 10, 12 s ago) stays",
    "  frame     one message of the server, with the whole map",
    "  gap       the time between the last two frames, and the longest one;",
    "            a lost connection counts too",
];
