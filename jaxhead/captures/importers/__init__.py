"""Subjects that other programs stored, as captures; one module per format."""
