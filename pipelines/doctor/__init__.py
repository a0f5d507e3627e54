"""What this machine has of what a build needs, and what is to be done about the rest.

checks of packages, plugins, machine, storage, models, Ray -> findings -> table, JSON, exit code
"""
