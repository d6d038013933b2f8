"""Transactions: RFC 3261 §17 and RFC 6026 as tables. No I/O; a timer is asked for, never started."""
