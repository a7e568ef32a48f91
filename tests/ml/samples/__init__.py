"""Small generated problems, one of each kind: with months, with weeks, and in batches."""
