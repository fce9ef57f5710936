"""Offline: all that produces what the robot consumes. Empty so far; never imports `calibration`."""
