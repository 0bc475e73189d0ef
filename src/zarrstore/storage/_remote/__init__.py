"""What remote stores share: limits, coalescing."""
