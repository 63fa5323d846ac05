"""The trained models of a run: which parameters are kept, how they are exported and loaded."""
