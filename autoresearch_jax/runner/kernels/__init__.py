"""Measures kernels: compares outputs with the reference, then times both in pairs.

`runner` is what the server calls. `inputs` draws the inputs, `gate` compares outputs, `timing`
measures.
"""
