"""What a run leaves on disk, and how it survives `kill -9`, a full disk and a torn line.

Plain values only (dicts, arrays, tensors): nothing here knows of training or of Flower. Two ways of writing
are used, and no other: whole files are written aside and renamed into place, logs grow by one synced line.
"""
