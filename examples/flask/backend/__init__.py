"""JewGo's API in memory: generated data, and the endpoints over it."""
