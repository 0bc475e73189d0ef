"""The store based on obstore."""
