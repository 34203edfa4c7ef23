"""What leaves is paid for, also across a resume."""

import numpy as np

from fedpriv.accounting.ledger import ReleaseEntry

from ..judging import P_VALUE, strongest_correlation
from ..stage import COARSE, Stage, along
from ..subject import SERVER, KeepsLedger, Script, Subject
from ..verdict import Finding, judged, not_applicable


def ledger(subject: Subject) -> Finding:
    """After a crash between release and checkpoint, every distinct release has an entry, and none shares its noise."""
    if not isinstance(subject, KeepsLedger):
        return not_applicable("it keeps no ledger: whatever a resumed run has released before is up to others")
    stage = Stage(subject=subject, rows=8 * COARSE)
    quiet, other = stage.ordinary(), stage.round([along(1.0)] * stage.units)
    before = Script(start=stage.start, rounds=(quiet, quiet))
    after = Script(start=stage.start, rounds=(other, quiet))  # the second round again, on other updates
    releases, entries = subject.play_resumed(before, after, seed=101)
    releaser = max(releases[0])
    seen = [release[releaser] for release in releases if releaser in release]
    distinct = len({movement.tobytes() for movement in seen})
    paid = len({entry.key for entry in entries if releaser == SERVER or releaser in _participants(entry)})
    lost, again = (movement[stage.rest] for movement in seen[1:3])
    shared, p = strongest_correlation([lost, again])
    same = bool(np.array_equal(seen[1], seen[2]))
    return judged(
        paid >= distinct and (same or p > P_VALUE),
        f"{distinct} distinct releases, {paid} entries; the lost round and its repetition share noise of correlation "
        f"{shared:.3g} (p = {p:.2g})",
    )


def _participants(entry: ReleaseEntry) -> set[int]:
    return {participant for participant, _, _ in entry.releases()}
