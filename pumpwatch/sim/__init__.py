"""The 12 venues on loopback: sessions, REST and trades by FEEDS.md, with a log of the truth."""
