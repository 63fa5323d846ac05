"""Starting programs, each a folder; they are what gets rewritten, so they are read as text."""
