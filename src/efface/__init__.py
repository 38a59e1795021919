"""Make a trained face model forget someone, and show what that did to everyone else."""

__version__ = "0.1.0"
