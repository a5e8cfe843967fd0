"""The queue of telephone calls: who waits, who takes whom, and what became of it."""
