"""Analysis of a comparison: statistics, standings, plots and the leaderboard."""
