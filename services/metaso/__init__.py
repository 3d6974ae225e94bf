"""Metaso: metaso.cn (秘塔AI搜索)."""
