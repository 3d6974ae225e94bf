"""Step: yuewen.cn and stepfun.com (跃问, 阶跃 AI)."""
