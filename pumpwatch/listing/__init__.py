"""From a Korean notice to a proven answer."""
