"""The standalone engine."""
