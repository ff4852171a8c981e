"""The server: the broker for any client that speaks HTTP, and a page that is one."""
