"""Tasks: what a network is for. One folder each: its page and ``SPEC``, ``task``, ``data``, ``space``.

Listing tasks loads no torch: only a task's ``SPEC`` is read until it is used.
"""
