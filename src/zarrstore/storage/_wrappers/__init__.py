"""Stores that wrap other stores, and other views of them."""
