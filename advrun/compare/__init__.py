"""Results folders side by side: what was changed, which numbers differ, and whether by more than chance."""
