"""Says which line of a file_contexts labels each key, the plain way: every line is tried, the last that matches counts.

    last-match.py FILE_CONTEXTS KEYS

A key is a path with the letter of a file's type after it. Prints the number of the line, from 1, or 0.
"""
import re
import sys

lines = []
with open(sys.argv[1], encoding="utf-8") as file:
    for number, line in enumerate(file, 1):
        fields = line.split()
        if fields and not fields[0].startswith("#"):
            kind = fields[1][1:] if len(fields) == 3 else "."
            lines.append((number, re.compile(f"({fields[0]}){re.escape(kind) if kind != '.' else '.'}".encode(), re.DOTALL)))
lines.reverse()
with open(sys.argv[2], "rb") as file:
    for key in file.read().split(b"\n"):
        print(next((number for number, regex in lines if regex.fullmatch(key)), 0))
