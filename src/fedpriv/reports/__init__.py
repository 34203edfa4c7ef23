"""What people read: a run in the terminal."""
