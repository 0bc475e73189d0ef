"""The store over fsspec's file systems."""
