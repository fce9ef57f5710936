"""Guided routines on the robot: each with a verified result, a report and a way back; never imports `export`."""
