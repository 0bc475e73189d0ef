"""The operating system's files: opening, reading, writing, locks, temporary names, fsync."""
