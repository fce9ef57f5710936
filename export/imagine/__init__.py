"""From a task in words to a chain of motions: ExoActor's offline stages, each with a provider behind it."""
