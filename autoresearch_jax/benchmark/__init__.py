"""Strategies side by side: the same problems, budget and seeds, and statistics with intervals."""
