"""`cnngen tune`: measures what could run each step of a network, chooses, and writes the lock."""
