"""The kernel that multiplies many small matrices."""
