"""What every layer above builds on: keys, byte requests, verbs, retry policy, listings."""
