"""Reference motions, offline: read, converted, retargeted, checked, shown, streamed."""
