"""Telephone calls, one module a provider."""
