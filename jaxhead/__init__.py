"""A video or a photo of a head becomes a head that speech, expression and pose can drive."""

__version__ = "0.1.0"
__all__ = ["__version__"]
