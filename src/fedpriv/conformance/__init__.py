"""The conformance kit: measures what a mechanism, a Flower strategy or a client mod really does (docs/conformance.md)."""

from .kit import Report, measure, measure_subject
from .subject import Claim, Subject
from .verdict import Row

__all__ = ["Claim", "Report", "Row", "Subject", "measure", "measure_subject"]
