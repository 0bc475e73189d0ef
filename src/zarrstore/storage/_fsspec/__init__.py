"""The store based on fsspec's file systems."""
