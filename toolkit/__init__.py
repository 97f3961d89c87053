"""A continuous, trustworthy behaviour log from a home cage with a side camera."""

__version__ = "0.1.0"

__all__ = ["__version__"]
