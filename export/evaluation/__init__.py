"""Suites of tasks, each from a human's motion to what a simulated robot made of it."""
