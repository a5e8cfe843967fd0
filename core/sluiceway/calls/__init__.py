"""The queue of calls: who is to be called, when, and by whom."""
