"""Reports of many runs: one HTML file, its figures, its tables."""

from .figures import FIGURES, figure
from .report import write_report as write

__all__ = ["FIGURES", "figure", "write"]
