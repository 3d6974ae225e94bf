"""The common library under every service."""
