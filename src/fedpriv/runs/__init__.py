"""Many runs, read from their folders: what each was, reached and earned."""

from .find import find_runs, load
from .run import Run
from .runs import Runs, Unread

__all__ = ["Run", "Runs", "Unread", "find_runs", "load"]
