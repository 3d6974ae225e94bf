"""The protocol of stepfun.com."""
