"""Slow science and what it needs: not part of the package."""
