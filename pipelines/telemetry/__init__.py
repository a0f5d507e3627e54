"""A run as others see it: what observers send to services that watch."""
