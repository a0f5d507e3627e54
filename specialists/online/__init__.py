"""Specialists that call online services, and their client: rate limits, retries, budgets."""
