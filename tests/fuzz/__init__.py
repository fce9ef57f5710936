"""Fuzzing of everything that reads bytes from outside, of the fault machine and of the gate; `python -m tests.fuzz`."""
