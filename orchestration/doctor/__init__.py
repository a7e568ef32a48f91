"""Diagnosis: state checks, configuration drift, log patterns."""
