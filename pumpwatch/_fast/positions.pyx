"""Positions derived from nothing but records that the spool wrote, and their form in a record (R3).

A restart begins where the records end: what the roads knew beyond them was never spooled. Lines are
read as ilp.pyx writes them; one that is not so moves nothing and is counted.
"""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

import zlib
from typing import NamedTuple

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from pumpwatch._fast.cursor cimport Cursor
from pumpwatch._fast.ilp cimport line_bytes
from pumpwatch._fast.instruments cimport hash_bytes
from pumpwatch._fast.sequence cimport MISSING_MAX, IdRange, observe_id, position_free
from pumpwatch._fast.trade_lines cimport SYMBOL_BYTES_MAX, LineFacts, learn_head, take_line

from pumpwatch._fast.instruments import escape_tag

cdef enum:
    KIND_POSITIONS = 1
    VERSION = 1

cdef struct PartHead:           # little-endian, as words.pxd asserts
    uint8_t kind
    uint8_t version
    uint16_t part               # from 0
    uint16_t parts
    uint16_t zero
    uint32_t count
    uint32_t crc                # of the payload with 0 in its place

cdef struct Packed:             # missing ranges and the symbol follow
    uint64_t seen_from
    uint64_t seen_to
    int64_t last_ns
    int64_t received_ns
    int64_t rows
    uint16_t symbol_bytes
    uint16_t missing
    uint8_t feed
    uint8_t zero[3]

PAYLOAD_BYTES_MAX = 16 * 1024 * 1024    # of a spool record


class SpoolPosition(NamedTuple):
    """Where one symbol stands. Ids are 0 on feeds whose ids prove nothing, and before the first one."""

    seen_from: int
    seen_to: int
    last_ns: int        # the highest exchange time
    received_ns: int    # the highest time of receipt
    rows: int           # that were spooled, in all lives of the spool
    missing: list       # ids between seen_from and seen_to that were not: [(first, last)]


cdef uint64_t symbol_hash(int feed, const char* symbol, Py_ssize_t size) noexcept nogil:
    return hash_bytes(symbol, size, <uint64_t>feed)


cdef class SpoolPositions:
    """Positions by feed number and symbol. For one thread at a time: ``apply`` lets the GIL go."""

    def __cinit__(self, contiguous):
        for feed in contiguous:
            self.contiguous[check_feed(feed)] = 1

    def __dealloc__(self):
        self.forget()
        free(self.standings)
        free(self.slots)

    cdef void forget(self) noexcept:
        cdef uint32_t i
        for i in range(self.count):
            position_free(&self.standings[i].position)
            free(self.standings[i].symbol)
        self.count = 0
        if self.slots != NULL:
            memset(self.slots, 0, (<Py_ssize_t>self.mask + 1) * sizeof(uint32_t))

    cdef bint grow(self) noexcept nogil:
        cdef uint32_t capacity = self.capacity * 2 if self.capacity else 256
        cdef uint32_t mask = capacity * 4 - 1, i, at
        cdef Standing* standings
        cdef uint32_t* slots = <uint32_t*>calloc(<size_t>mask + 1, sizeof(uint32_t))
        if slots == NULL:
            return 0
        standings = <Standing*>realloc(self.standings, capacity * sizeof(Standing))
        if standings == NULL:
            free(slots)
            return 0
        for i in range(self.count):
            at = <uint32_t>standings[i].hash & mask
            while slots[at]:
                at = (at + 1) & mask
            slots[at] = i + 1
        free(self.slots)
        self.slots = slots
        self.mask = mask
        self.standings = standings
        self.capacity = capacity
        return 1

    cdef Standing* find(self, int feed, const char* symbol, Py_ssize_t size, uint64_t hash) noexcept nogil:
        """NULL: there is none."""
        cdef Standing* standing
        cdef uint32_t at = <uint32_t>hash & self.mask
        if self.count == 0:
            return NULL
        while self.slots[at]:
            standing = &self.standings[self.slots[at] - 1]
            if (standing.hash == hash and standing.feed == feed and standing.symbol_bytes == size
                    and memcmp(standing.symbol, symbol, size) == 0):
                return standing
            at = (at + 1) & self.mask
        return NULL

    cdef Standing* stand(self, int feed, const char* symbol, Py_ssize_t size) noexcept nogil:
        """The symbol's standing, made where it is new; NULL: no memory."""
        cdef uint64_t hash = symbol_hash(feed, symbol, size)
        cdef Standing* standing = self.find(feed, symbol, size, hash)
        cdef uint32_t at
        if standing != NULL:
            return standing
        if self.count == self.capacity and not self.grow():
            return NULL
        standing = &self.standings[self.count]
        memset(standing, 0, sizeof(Standing))
        standing.position.missing = <IdRange*>calloc(MISSING_MAX, sizeof(IdRange))
        standing.symbol = <char*>malloc(size)
        if standing.position.missing == NULL or standing.symbol == NULL:
            free(standing.position.missing)
            free(standing.symbol)
            return NULL
        memcpy(standing.symbol, symbol, size)
        standing.symbol_bytes = <uint32_t>size
        standing.feed = <uint8_t>feed
        standing.hash = hash
        at = <uint32_t>hash & self.mask
        while self.slots[at]:
            at = (at + 1) & self.mask
        self.slots[at] = self.count + 1
        self.count += 1
        return standing

    def apply(self, int feed, bytes payload):
        """Move the positions by the lines of one trades record; only after it was written."""
        cdef const char* text = payload
        cdef Py_ssize_t size = len(payload)
        cdef bint is_done
        check_feed(feed)
        with nogil:
            is_done = self.read_lines(feed, text, size)
        if not is_done:
            raise MemoryError("no room for positions")

    cdef bint read_lines(self, int feed, const char* text, Py_ssize_t size) noexcept nogil:
        cdef Cursor cur, start
        cdef LineFacts row
        cdef Standing* standing
        cdef IdRange hole
        cdef Py_ssize_t skipped
        cur.at = text
        cur.end = text + size
        while cur.at < cur.end:
            start = cur
            if not take_line(&cur, &self.heads[feed], &row):
                cur = start
                if not (learn_head(&self.heads[feed], &start) and take_line(&cur, &self.heads[feed], &row)):
                    self.unread += 1
                    skipped = line_bytes(start.at, start.end - start.at)
                    cur.at = start.at + skipped if skipped else cur.end
                    continue
            standing = self.stand(feed, row.symbol, row.symbol_bytes)
            if standing == NULL:
                return 0
            if row.sequence_number and self.contiguous[feed]:
                observe_id(&standing.position, row.sequence_number, <int64_t>row.exchange_ns, &hole)
            standing.position.last_ns = max(standing.position.last_ns, <int64_t>row.exchange_ns)
            standing.received_ns = max(standing.received_ns, <int64_t>row.received_ns)
            standing.rows += 1
        return 1

    def get(self, int feed, str symbol):
        """The symbol's SpoolPosition, or None."""
        text = escape_tag(symbol)
        cdef Standing* standing = self.find(
            check_feed(feed), text, len(text), symbol_hash(feed, text, len(text)))
        return None if standing == NULL else position_of(standing)

    def __len__(self):
        return self.count

    def __iter__(self):
        """``(feed number, symbol, SpoolPosition)`` of each, in the order of their first rows."""
        cdef uint32_t i
        for i in range(self.count):
            standing = &self.standings[i]
            symbol = standing.symbol[:standing.symbol_bytes].decode(errors="surrogateescape")
            yield standing.feed, unescaped(symbol), position_of(standing)

    # --- in records -------------------------------------------------------------------------------

    def encode(self, Py_ssize_t bytes_max=PAYLOAD_BYTES_MAX):
        """All positions as payloads of at most ``bytes_max``; one at least. They count only together."""
        cdef uint32_t i, first = 0
        cdef Py_ssize_t size = sizeof(PartHead), more
        spans = []
        for i in range(self.count):
            more = packed_bytes(&self.standings[i])
            if size + more > bytes_max and i > first:
                spans.append((first, i, size))
                first = i
                size = sizeof(PartHead)
            size += more
        spans.append((first, self.count, size))
        return [self._encode_part(part, len(spans), *span) for part, span in enumerate(spans)]

    def _encode_part(self, int part, int parts, uint32_t first, uint32_t last, Py_ssize_t size):
        cdef bytes payload = PyBytes_FromStringAndSize(NULL, size)
        cdef char* out = PyBytes_AS_STRING(payload) + sizeof(PartHead)
        cdef PartHead* head = <PartHead*>PyBytes_AS_STRING(payload)
        cdef uint32_t i
        for i in range(first, last):
            out = pack(out, &self.standings[i])
        memset(head, 0, sizeof(PartHead))
        head.kind = KIND_POSITIONS
        head.version = VERSION
        head.part = <uint16_t>part
        head.parts = <uint16_t>parts
        head.count = last - first
        head.crc = zlib.crc32(payload)  # its own place still holds 0
        return payload

    def load(self, bytes payload):
        """Take in one payload of ``encode``; the first of a set replaces all that was there.

        Raises ValueError for what ``encode`` cannot have made; then nothing has changed. The set
        counts when ``is_whole`` says so.
        """
        cdef PartHead head = read_head(payload)
        cdef const char* at = PyBytes_AS_STRING(payload) + sizeof(PartHead)
        cdef Packed packed
        cdef Standing* standing
        if head.part and (head.part != self.parts_loaded or head.parts != self.parts):
            raise ValueError(f"positions: part {head.part} of {head.parts} does not follow {self.parts_loaded}")
        symbols = check_part(payload, head.count)
        if head.part and any(self._holds(feed, text) for feed, text in symbols):
            raise ValueError("positions: a symbol stands in two parts")
        if head.part == 0:
            self.forget()
        for _ in range(head.count):
            memcpy(&packed, at, sizeof(Packed))
            at += sizeof(Packed)
            symbol = at + packed.missing * sizeof(IdRange)
            standing = self.stand(packed.feed, symbol, packed.symbol_bytes)
            if standing == NULL:
                raise MemoryError("no room for positions")
            standing.position.seen_from = packed.seen_from
            standing.position.seen_to = packed.seen_to
            standing.position.last_ns = packed.last_ns
            standing.position.missing_count = packed.missing
            memcpy(standing.position.missing, at, packed.missing * sizeof(IdRange))
            standing.received_ns = packed.received_ns
            standing.rows = packed.rows
            at = symbol + packed.symbol_bytes
        self.parts = head.parts
        self.parts_loaded = head.part + 1

    def _holds(self, int feed, bytes text):
        return self.find(feed, text, len(text), symbol_hash(feed, text, len(text))) != NULL

    @property
    def is_whole(self):
        """False between the first and the last payload of a set that is being loaded."""
        return self.parts_loaded == self.parts


cdef object position_of(const Standing* standing):
    missing = [(standing.position.missing[i].first, standing.position.missing[i].last)
               for i in range(standing.position.missing_count)]
    return SpoolPosition(standing.position.seen_from, standing.position.seen_to, standing.position.last_ns,
                         standing.received_ns, standing.rows, missing)


cdef str unescaped(str text):
    """What escape_tag made the text of."""
    cdef list out = []
    chars = iter(text)
    for char in chars:
        out.append(next(chars, "") if char == "\\" else char)
    return "".join(out)


def check_feed(int feed):
    """The feed number, if it can be one."""
    if not 1 <= feed < FEEDS_MAX:
        raise ValueError(f"feed number {feed} is not in 1..{FEEDS_MAX - 1}")
    return feed


# --- packed ---------------------------------------------------------------------------------------


cdef Py_ssize_t packed_bytes(const Standing* standing) noexcept:
    return sizeof(Packed) + standing.position.missing_count * sizeof(IdRange) + standing.symbol_bytes


cdef char* pack(char* out, const Standing* standing) noexcept:
    """One standing into ``out``; where the next goes."""
    cdef Packed packed
    memset(&packed, 0, sizeof(Packed))
    packed.seen_from = standing.position.seen_from
    packed.seen_to = standing.position.seen_to
    packed.last_ns = standing.position.last_ns
    packed.received_ns = standing.received_ns
    packed.rows = standing.rows
    packed.symbol_bytes = <uint16_t>standing.symbol_bytes
    packed.missing = <uint16_t>standing.position.missing_count
    packed.feed = standing.feed
    memcpy(out, &packed, sizeof(Packed))
    out += sizeof(Packed)
    memcpy(out, standing.position.missing, packed.missing * sizeof(IdRange))
    out += packed.missing * sizeof(IdRange)
    memcpy(out, standing.symbol, standing.symbol_bytes)
    return out + standing.symbol_bytes


cdef PartHead read_head(bytes payload) except *:
    """The head of a payload whose checksum is right."""
    cdef PartHead head
    if len(payload) < <Py_ssize_t>sizeof(PartHead):
        raise ValueError(f"positions: {len(payload)} bytes are no payload")
    memcpy(&head, PyBytes_AS_STRING(payload), sizeof(PartHead))
    if head.kind != KIND_POSITIONS or head.version != VERSION:
        raise ValueError(f"positions: kind {head.kind} version {head.version} is not {KIND_POSITIONS} {VERSION}")
    place = sizeof(PartHead) - sizeof(uint32_t)
    if zlib.crc32(payload[sizeof(PartHead):], zlib.crc32(payload[:place] + bytes(sizeof(uint32_t)))) != head.crc:
        raise ValueError("positions: the checksum is wrong")
    if head.zero or head.part >= head.parts:
        raise ValueError(f"positions: part {head.part} of {head.parts}")
    return head


cdef set check_part(bytes payload, uint32_t count):
    """``{(feed, symbol)}`` of a payload's positions, if all of them are sound."""
    cdef const char* at = PyBytes_AS_STRING(payload) + sizeof(PartHead)
    cdef const char* end = PyBytes_AS_STRING(payload) + len(payload)
    cdef Packed packed
    cdef uint32_t i
    cdef Py_ssize_t missing_bytes
    symbols = set()
    for i in range(count):
        if end - at < <Py_ssize_t>sizeof(Packed):
            raise ValueError(f"positions: {count} were promised, {i} are there")
        memcpy(&packed, at, sizeof(Packed))
        at += sizeof(Packed)
        missing_bytes = packed.missing * sizeof(IdRange)
        if packed.missing > MISSING_MAX or end - at < missing_bytes + packed.symbol_bytes:
            raise ValueError(f"positions: number {i} does not fit the payload")
        text = at[missing_bytes:missing_bytes + packed.symbol_bytes]
        key = packed.feed, text
        if not is_sound(&packed, at) or not is_symbol(text) or key in symbols:
            raise ValueError(f"positions: feed {packed.feed} {text!r} cannot stand like this")
        symbols.add(key)
        at += missing_bytes + packed.symbol_bytes
    if at != end:
        raise ValueError(f"positions: {end - at} bytes too many")
    return symbols


cdef bint is_sound(const Packed* packed, const char* missing) noexcept:
    """What observe_id can have left behind."""
    cdef IdRange hole
    cdef uint64_t floor = packed.seen_from
    cdef int i
    if not 1 <= packed.feed < FEEDS_MAX or packed.zero[0] or packed.zero[1] or packed.zero[2]:
        return 0
    if packed.last_ns < 0 or packed.received_ns < 0 or packed.rows < 1 or packed.seen_from > packed.seen_to:
        return 0
    for i in range(packed.missing):
        memcpy(&hole, missing + i * sizeof(IdRange), sizeof(IdRange))
        if not floor <= hole.first <= hole.last < packed.seen_to:
            return 0
        floor = hole.last + 1
    return 1


cdef bint is_symbol(bytes text) except -1:
    """What a line can have as its symbol."""
    try:
        return 0 < len(text) <= SYMBOL_BYTES_MAX and escape_tag(unescaped(text.decode())) == text
    except ValueError:
        return 0
