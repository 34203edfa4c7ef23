"""Measures what a mechanism, a Flower strategy or a client mod really does (docs/conformance.md)."""

from .kit import measure, measure_subject
from .subject import Claim, Subject
from .verdict import Row, Verdicts

__all__ = ["Claim", "Row", "Subject", "Verdicts", "measure", "measure_subject"]
