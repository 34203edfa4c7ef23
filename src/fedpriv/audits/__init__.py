"""Audits: canaries that a run trains on, and what guessing them right says of its epsilon."""
