"""One folder per paper: configurations, a module per figure, published claims as data."""
