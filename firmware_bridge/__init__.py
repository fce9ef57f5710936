"""The wire and what sits at its far end: motors, not the robot. Imports nothing from the floors above."""
