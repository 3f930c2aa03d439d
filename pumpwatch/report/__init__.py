"""What a listing's bundle tells a person: figures, charts, one page, the original's refined files.

Made from the bundle alone: the same bundle gives the same report.
"""
