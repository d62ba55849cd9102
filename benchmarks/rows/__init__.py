"""One module per row of the protocol; each names its arms and what is compared."""
