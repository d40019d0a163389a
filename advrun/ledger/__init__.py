"""`advrun ledger`: the closest adversarial examples known, of any run and any tool, each checked before it is believed."""
