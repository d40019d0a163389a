"""What a file is by its first bytes: people download web pages and pointers in place of data."""

from __future__ import annotations

SIGNATURES = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself (run: git lfs pull)"),
    (b"<!doctype", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "an XML or HTML page"),
    (b"\x1f\x8b", "a gzip archive (unpack it first)"),
    (b"pk\x03\x04", "a zip archive (unpack it first)"),
    (b"\x89hdf\r\n", "an HDF5 file"),
)
HEAD = 512
"""Bytes that `describe` wants to see."""


def describe(head: bytes) -> str | None:
    """In words, what a file that begins with `head` is, or None where nothing is recognised."""
    if not head:
        return "an empty file"
    start = head[:HEAD].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return next((words for signature, words in SIGNATURES if start.startswith(signature)), None)
