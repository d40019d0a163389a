"""From an experiment to its results on disk: plan, keys, schedule, work, store."""
