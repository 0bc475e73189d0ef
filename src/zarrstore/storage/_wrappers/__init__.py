"""Stores around stores, and other views of them."""
