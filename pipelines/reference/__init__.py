"""What can be written in a config and on a command line, taken from the code.

Options, stages, commands and the output contract: as text for a terminal, as JSON schema for
editors, as pages of the documentation. Nothing here is written twice: what is missing or wrong
in a page is missing or wrong in the docstring of the field.
"""
