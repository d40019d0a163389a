"""Data sets, one file each: a function of the file's name that returns an `advrun.data.Dataset`."""
