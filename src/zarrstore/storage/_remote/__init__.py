"""What remote stores share: limits, retries, coalesced reads, the interpretation of answers."""
