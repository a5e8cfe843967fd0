"""WhatsApp, by provider."""
