"""The protocol of yuewen.cn."""
