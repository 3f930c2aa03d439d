"""The instrument table of one feed. Numbers never change while the daemon runs; names are only added."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from decimal import Decimal

from pumpwatch._fast.sequence cimport MISSING_MAX, Position, forget_ids, position_free, position_init
from pumpwatch._fast.trade cimport uint128
from pumpwatch._fast.words cimport load_word, same_bytes

cdef enum:
    PREFIX_BYTES_MAX = 512      # ilp.LINE_BYTES_MAX counts on it
    EXPONENT_MAX = 64           # of contract values and prices: far beyond any venue's


cdef uint64_t hash_bytes(const char* text, Py_ssize_t size, uint64_t seed) noexcept nogil:
    """A 64-bit mix of eight bytes a step (multiply and shift, after the public-domain murmur finaliser)."""
    cdef uint64_t total = seed ^ (<uint64_t>size * 0x9E3779B97F4A7C15ULL)
    cdef uint64_t word = 0
    cdef uint32_t low, high
    while size > 8:
        total = (total ^ load_word(text)) * 0xFF51AFD7ED558CCDULL
        total ^= total >> 32
        text += 8
        size -= 8
    # The last 1 to 8 bytes as one word; their number is in the seed.
    if size >= 4:
        memcpy(&low, text, 4)
        memcpy(&high, text + size - 4, 4)
        word = low | <uint64_t>high << 32
    elif size > 0:
        word = <uint8_t>text[0] | <uint64_t><uint8_t>text[size >> 1] << 8 | <uint64_t><uint8_t>text[size - 1] << 16
    total = (total ^ word) * 0xFF51AFD7ED558CCDULL
    total ^= total >> 32
    total *= 0xC4CEB9FE1A85EC53ULL
    return total ^ (total >> 29)


def escape_tag(str text) -> bytes:
    """A symbol value as ILP wants it: blank, comma, equals sign and backslash escaped; no line break."""
    if not text or "\n" in text or "\r" in text or "\0" in text:
        raise ValueError(f"a symbol must have text and no line break, got {text!r}")
    for special in ("\\", " ", ",", "="):
        text = text.replace(special, "\\" + special)
    return text.encode()


def contract_parts(str contract_value):
    """``(mantissa, exponent)`` of an exact decimal text, mantissa in 1 .. 2**64 - 1 and without trailing zeros."""
    try:
        value = Decimal(contract_value)
        mantissa, exponent = int("".join(map(str, value.as_tuple().digits))), value.as_tuple().exponent
    except (ArithmeticError, ValueError) as error:
        raise ValueError(f"contract value {contract_value!r} is no number") from error
    if not value.is_finite() or value.is_signed() or mantissa == 0:
        raise ValueError(f"contract value {contract_value!r} is not above 0")
    while mantissa % 10 == 0:
        mantissa //= 10
        exponent += 1
    if mantissa >= 2**64 or abs(exponent) > EXPONENT_MAX:
        raise ValueError(f"contract value {contract_value!r} has too many digits")
    return mantissa, exponent


cdef char* copy_bytes(bytes text) except NULL:
    cdef char* copy = <char*>malloc(len(text) + 1)
    if copy == NULL:
        raise MemoryError("no room for an instrument")
    memcpy(copy, <const char*>text, len(text) + 1)
    return copy


cdef class InstrumentTable:
    """Instruments of one feed, found by the hash of their name on the wire."""

    def __cinit__(self, str exchange, str market_type):
        self.exchange = exchange
        self.market_type = market_type
        self.symbols = []
        self.count = 0
        self.capacity = 0
        self.mask = 0

    def __dealloc__(self):
        cdef uint32_t i
        cdef int prefix
        for i in range(self.count):
            free(self.instruments[i].name)
            for prefix in range(6):
                free(self.instruments[i].prefixes[prefix])
            position_free(&self.instruments[i].position)
        free(self.instruments)
        free(self.slots)

    def add(self, str venue_symbol, str symbol, str contract_value="1", int price_exponent=0):
        """Add one instrument, or update the contract value of one that is there. Returns its number."""
        name = venue_symbol.encode()
        cdef uint32_t number = self.find(name, len(name))
        cdef Instrument* instrument
        mantissa, exponent = contract_parts(contract_value)
        if abs(price_exponent) > EXPONENT_MAX:
            raise ValueError(f"{venue_symbol}: price exponent {price_exponent} is not usable")
        if number == NO_INSTRUMENT:
            number = self.append_new(name, symbol)
        instrument = &self.instruments[number]
        instrument.contract_mantissa = <uint64_t>mantissa
        instrument.contract_exponent = exponent
        instrument.price_exponent = price_exponent
        instrument.is_scaled = mantissa != 1 or exponent != 0 or price_exponent != 0
        return number

    cdef object append_new(self, bytes name, str symbol):
        cdef uint32_t number = self.count
        cdef uint32_t at
        cdef int prefix
        cdef Instrument* instrument
        if self.count == self.capacity:
            self.grow_slots()
        head = b"trades,exchange=%s,market_type=%s,symbol=%s" % (
            escape_tag(self.exchange), escape_tag(self.market_type), escape_tag(symbol))
        prefixes = [
            b"%s,side=%s,origin=%s" % (head, side, origin)
            for origin in (b"stream", b"backfill", b"archive") for side in (b"buy", b"sell")
        ]
        if max(map(len, prefixes)) > PREFIX_BYTES_MAX:
            raise ValueError(f"{symbol}: the symbol's name is too long")
        instrument = &self.instruments[number]
        memset(instrument, 0, sizeof(Instrument))
        position_init(&instrument.position)
        instrument.name = copy_bytes(name)
        instrument.name_bytes = len(name)
        for prefix in range(6):
            instrument.prefixes[prefix] = copy_bytes(prefixes[prefix])
            instrument.prefix_bytes[prefix] = len(prefixes[prefix])
        instrument.hash = hash_bytes(instrument.name, instrument.name_bytes, 0)
        at = <uint32_t>instrument.hash & self.mask
        while self.slots[at]:
            at = (at + 1) & self.mask
        self.slots[at] = number + 1
        self.symbols.append(symbol)
        self.count += 1
        return number

    cdef int grow_slots(self) except -1:
        cdef uint32_t capacity = max(64, self.capacity * 2)
        cdef uint32_t slot_count = capacity * 4
        cdef uint32_t i, at
        cdef Instrument* instruments = <Instrument*>realloc(self.instruments, capacity * sizeof(Instrument))
        cdef uint32_t* slots
        if instruments == NULL:
            raise MemoryError("no room for instruments")
        self.instruments = instruments
        slots = <uint32_t*>calloc(slot_count, sizeof(uint32_t))
        if slots == NULL:
            raise MemoryError("no room for instruments")
        for i in range(self.count):
            at = <uint32_t>instruments[i].hash & (slot_count - 1)
            while slots[at]:
                at = (at + 1) & (slot_count - 1)
            slots[at] = i + 1
        free(self.slots)
        self.slots = slots
        self.mask = slot_count - 1
        self.capacity = capacity
        return 0

    cdef uint32_t find(self, const char* name, Py_ssize_t size) noexcept nogil:
        cdef uint64_t wanted
        cdef uint32_t at
        cdef Instrument* instrument
        if self.count == 0:
            return NO_INSTRUMENT
        wanted = hash_bytes(name, size, 0)
        at = <uint32_t>wanted & self.mask
        while self.slots[at]:
            instrument = &self.instruments[self.slots[at] - 1]
            if instrument.hash == wanted and instrument.name_bytes == size and same_bytes(instrument.name, name, size):
                return self.slots[at] - 1
            at = (at + 1) & self.mask
        return NO_INSTRUMENT

    def number(self, str venue_symbol):
        """The instrument's number, or None."""
        name = venue_symbol.encode()
        cdef uint32_t found = self.find(name, len(name))
        return None if found == NO_INSTRUMENT else found

    def name(self, uint32_t number) -> str:
        """The venue's name of an instrument number."""
        if number >= self.count:
            raise IndexError(f"no instrument {number}")
        return self.instruments[number].name[:self.instruments[number].name_bytes].decode()

    def rows(self, uint32_t number) -> int:
        """Rows of this instrument that went on to the spool since the start."""
        if number >= self.count:
            raise IndexError(f"no instrument {number}")
        return self.instruments[number].rows

    def position(self, uint32_t number):
        """``(seen_from, seen_to, last exchange ns, missing ranges)`` as of now; 0 = nothing seen."""
        if number >= self.count:
            raise IndexError(f"no instrument {number}")
        cdef Instrument* instrument = &self.instruments[number]
        missing = [
            (instrument.position.missing[i].first, instrument.position.missing[i].last)
            for i in range(instrument.position.missing_count)
        ]
        return instrument.position.seen_from, instrument.position.seen_to, instrument.position.last_ns, missing

    def positions(self):
        """``[(venue name, seen_from, seen_to, last ns, missing)]`` of every instrument with a trade."""
        return [
            (self.name(i), *self.position(i)) for i in range(self.count)
            if self.instruments[i].position.last_ns
        ]

    def restore(self, str venue_symbol, uint64_t seen_from, uint64_t seen_to, int64_t last_ns, list missing):
        """Put back a position that the spool kept; unknown instruments are ignored (returns False)."""
        number = self.number(venue_symbol)
        if number is None:
            return False
        cdef Position* position = &self.instruments[<uint32_t>number].position
        position.seen_from = seen_from
        position.seen_to = seen_to
        position.last_ns = last_ns
        position.missing_count = 0
        for _, last in missing[:-MISSING_MAX]:
            # A hole that finds no place is not proven seen, nor is what lies below it (R1).
            position.seen_from = max(position.seen_from, <uint64_t>last + 1)
        for first, last in missing[-MISSING_MAX:]:
            position.missing[position.missing_count].first = first
            position.missing[position.missing_count].last = last
            position.missing_count += 1
        return True

    def forget(self, uint32_t number, uint64_t first, uint64_t last):
        """No trade has the ids ``first`` to ``last``: they are missing no more (R2, ``not_offered``).

        Returns False where that would leave more holes than are kept: nothing changed.
        """
        if number >= self.count:
            raise IndexError(f"no instrument {number}")
        return bool(forget_ids(&self.instruments[number].position, first, last))
