"""`advrun verify`: a results folder, perhaps somebody else's, checked again without attacking. Nothing is written, and no link followed."""
