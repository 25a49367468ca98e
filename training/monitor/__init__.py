"""Watches a run: averages measurements, notices problems, and shows both."""
