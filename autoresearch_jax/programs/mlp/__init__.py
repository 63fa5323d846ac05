"""A small multilayer perceptron: the starting program for supervised problems."""
