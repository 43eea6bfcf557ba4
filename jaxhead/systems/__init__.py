"""The published systems, one sub-package each, and their registry."""
