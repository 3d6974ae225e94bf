"""Emohaa: echo.turing-world.com (聆心智能)."""
