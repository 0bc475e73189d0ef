"""Stores for chunked arrays."""
