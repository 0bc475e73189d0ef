"""What surrounds a store's verbs: blocking methods, overridden methods, reads into GPU memory."""
