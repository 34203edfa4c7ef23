"""Measures what a mechanism, a Flower strategy or a client mod really does (docs/conformance.md).

Light: pytest imports this package for its plugin. ``kit.measure`` is where it begins.
"""
