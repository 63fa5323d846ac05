"""The program that packs circles."""
