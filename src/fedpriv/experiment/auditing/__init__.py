"""The auditor's side of one experiment: canaries that join it, and what came of them."""

from .audit import Audit, audit_of

__all__ = ["Audit", "audit_of"]
