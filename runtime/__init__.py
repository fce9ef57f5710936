"""The robot side: state, reference, observation, policy, safety, telemetry. Needs numpy alone to import."""
