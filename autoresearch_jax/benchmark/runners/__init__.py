"""How a benchmark's runs are made: their specifications, one simulated run, a pool of processes."""
