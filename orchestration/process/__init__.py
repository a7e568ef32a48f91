"""Child processes, background work, progress, locks and waiting."""
