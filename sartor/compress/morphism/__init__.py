"""Morphisms."""
