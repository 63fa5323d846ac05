"""Kernels: functions to make fast, each with the reference that it must agree with."""
