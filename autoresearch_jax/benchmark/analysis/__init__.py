"""What a comparison's results say: statistics, standings, plots, the leaderboard."""
