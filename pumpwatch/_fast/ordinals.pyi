"""Only for other C modules: nothing here can be called from Python."""
