"""The kernel that computes a linear recurrence."""
