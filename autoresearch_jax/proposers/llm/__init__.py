"""Proposers that call a language model: client, answers, and how an answer becomes an edit."""
