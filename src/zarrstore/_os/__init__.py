"""Files of the operating system: opening, reading, writing, locks, temporary names, fsync."""
