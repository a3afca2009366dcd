"""The bundle's config.json: read, rewritten, and put back."""
