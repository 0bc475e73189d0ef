"""Binds verbs to a thread or an event loop: the thread pool, the I/O loop, bindings."""
