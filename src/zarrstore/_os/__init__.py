"""Files as the operating system has them: open, read, write, temporary names, fsync."""
