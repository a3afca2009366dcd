"""Reading and checking a bundle's config.json."""
