"""The auditor's side of one experiment: canaries that join it, and what came of them."""

from .audit import Audit, audit_of
from .repeated import RepeatedAudit, check_repeated

__all__ = ["Audit", "RepeatedAudit", "audit_of", "check_repeated"]
