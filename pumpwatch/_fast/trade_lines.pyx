"""Reads trades' lines again, exactly as ilp.pyx writes them: nothing else is taken for one."""
from libc.stdint cimport INT64_MAX, uint64_t
from libc.string cimport memchr, memcpy

from pumpwatch._fast.cursor cimport Cursor, take_digits, take_exact


cdef bint take_number(Cursor* cur) noexcept nogil:
    """A value as ilp.pyx writes it: a binary double, or digits."""
    cdef const char* start
    if take_exact(cur, b"==\x10", 3):
        if cur.end - cur.at < 8:
            return 0
        cur.at += 8
        return 1
    if not take_exact(cur, "=", 1):
        return 0
    start = cur.at
    while cur.at < cur.end and (
            c'0' <= cur.at[0] <= c'9' or cur.at[0] == c'.' or cur.at[0] == c'E' or cur.at[0] == c'-'):
        cur.at += 1
    return cur.at > start


cdef bint skip_tag_value(Cursor* cur) noexcept nogil:
    """Up to the comma or blank behind it."""
    while cur.at < cur.end and cur.at[0] != c',' and cur.at[0] != c' ':
        cur.at += 2 if cur.at[0] == c'\\' else 1
    return cur.at < cur.end


cdef bint learn_head(Head* head, const Cursor* line) noexcept nogil:
    cdef Cursor cur = line[0]
    if not take_exact(&cur, "trades", 6):
        return 0
    while not take_exact(&cur, ",symbol=", 8):
        if not take_exact(&cur, ",", 1) or not skip_tag_value(&cur) or cur.at[0] != c',':
            return 0
    if cur.at - line.at > HEAD_BYTES_MAX:
        return 0
    head.size = cur.at - line.at
    memcpy(head.text, line.at, head.size)
    return 1


cdef bint skip_to(Cursor* cur, char wanted) noexcept nogil:
    cdef const char* found = <const char*>memchr(cur.at, wanted, cur.end - cur.at)
    if found == NULL:
        return 0
    cur.at = found
    return 1


cdef bint take_line(Cursor* cur, const Head* head, LineFacts* row) noexcept nogil:
    if head.size == 0 or not take_exact(cur, head.text, head.size):
        return 0
    row.symbol = cur.at
    if not skip_tag_value(cur):
        return 0
    row.symbol_bytes = cur.at - row.symbol
    if not 0 < row.symbol_bytes <= SYMBOL_BYTES_MAX or not skip_to(cur, c' '):
        return 0
    if not (take_exact(cur, " price", 6) and take_number(cur) and take_exact(cur, ",quantity", 9) and take_number(cur)):
        return 0
    if not (take_exact(cur, ',trade_id="', 11) and skip_to(cur, c'"')):
        return 0
    if not (take_exact(cur, '",sequence_number=', 18) and take_digits(cur, &row.sequence_number)):
        return 0
    if not (take_exact(cur, "i,received_at=", 14) and take_digits(cur, &row.received_ns)):
        return 0
    if not (take_exact(cur, "n ", 2) and take_digits(cur, &row.exchange_ns) and take_exact(cur, "\n", 1)):
        return 0
    return row.exchange_ns <= <uint64_t>INT64_MAX and row.received_ns <= <uint64_t>INT64_MAX
