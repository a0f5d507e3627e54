"""README and the documentation are run: each command, each block of Python, each link."""
