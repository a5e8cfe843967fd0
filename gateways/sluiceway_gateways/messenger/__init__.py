"""Messenger, by provider."""
