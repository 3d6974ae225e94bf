"""One service per chat site."""
