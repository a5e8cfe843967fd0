"""HTTP in and out: the webhook server and the client that plays flows. The only place that imports aiohttp."""
