"""Bounds: `NAME(model or system, x, y, norm, rng, *, settings) -> radius (n,)`, how far no attack can reach; see README.md."""
