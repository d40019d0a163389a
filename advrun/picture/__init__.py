"""One picture under attack: `advrun try` in the terminal and as a PNG, `advrun page` in a browser."""
