"""Hailuo: hailuoai.com (海螺AI, MiniMax)."""
