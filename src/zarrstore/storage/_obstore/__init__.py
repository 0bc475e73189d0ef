"""The store over obstore."""
