"""What is put over a store's verbs: blocking methods, overridden methods, reads to a GPU."""
