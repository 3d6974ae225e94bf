"""The sites' wire: the only HTTP client, and the framings."""
