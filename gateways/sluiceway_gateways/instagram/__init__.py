"""Instagram, by provider."""
