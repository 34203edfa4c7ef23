"""The responsible-AI panel: privacy, attacks and fairness side by side, for a data-protection officer."""

from .section import Section, glossary, section

__all__ = ["Section", "glossary", "section"]
