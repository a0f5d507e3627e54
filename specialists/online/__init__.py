"""Specialists that ask a service elsewhere, and the client that keeps their manners."""
