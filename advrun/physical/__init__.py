"""Stickers in the world: printed to scale (`sheet.py`), and found again in photographs (`corners.py`, `photos.py`)."""
