"""What remote stores share: limits, retries, coalesced reads, the meaning of answers."""
