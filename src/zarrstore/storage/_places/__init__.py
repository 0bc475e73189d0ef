"""Turns values that name a place into stores."""
