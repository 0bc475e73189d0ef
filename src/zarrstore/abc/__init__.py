"""Base classes: see `zarrstore.abc.store`."""
