"""The version of this program, also written into every store it makes."""

__version__ = "0.1.0"

PROGRAM = "ngff-convert"
"""The command, and what the metadata of a store name as the program that made its levels."""
