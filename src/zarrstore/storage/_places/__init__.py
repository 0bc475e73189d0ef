"""Which value means which store."""
