"""Folders and small files on any file system: whole or not at all, with one writer at a time."""
