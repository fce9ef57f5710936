"""The fault campaign: every row of the fault table injected, and the answer measured."""
