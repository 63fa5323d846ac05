"""What a person looks at: the progress plot, from the ledger alone."""
