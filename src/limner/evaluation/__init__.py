"""Metrics, suites and reports."""
