"""A small convolutional network: the starting program for the user's own arrays."""
