"""Names by which people call a column or an array, for guesses."""

import re

LABEL = re.compile(r"label|target|class|y|outcome|diagnosis|income|response|activity", re.IGNORECASE)
USER = re.compile(
    r"(user|subject|patient|client|person|participant|customer|speaker|writer)(s|[\W_]?ids?)?", re.IGNORECASE
)
RECORDING = re.compile(
    r"(recording|record|execution|trial|run|session|sequence|episode|segment|take)(s|[\W_]?(id|nr|no|number|index)s?)?",
    re.IGNORECASE,
)
