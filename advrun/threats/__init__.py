"""Threats: `NAME(source: SystemName, target: SystemName, *, settings) -> bool`, whether examples of one system meet another."""
