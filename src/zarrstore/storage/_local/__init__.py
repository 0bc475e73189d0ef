"""The store in a folder."""
