"""Guided routines on the robot. Empty so far; never imports `export`."""
