"""What every layer above stands on: keys, byte requests, verbs, retry policy, listings."""
