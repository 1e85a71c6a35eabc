"""Conformance suites that anyone's extension can run: spaces, tasks, strategies, estimators, devices."""
