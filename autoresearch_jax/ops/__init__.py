"""Building blocks a program may import: short functions, fast on cpu, gpu and tpu."""
