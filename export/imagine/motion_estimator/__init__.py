"""The project's own monocular motion estimator: what it learns from, its networks, and how a video becomes a motion."""
