"""A small task for the tests of estimators, importable by name."""
