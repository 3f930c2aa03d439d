"""Continuity of ids. A row is called a repeat only where its id is known to have gone on (R1)."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memmove

cdef enum:
    RESET_AFTER_NS = 1000000000  # a lower id on a trade this much later than all before is a new count


cdef void position_init(Position* position) noexcept:
    position.seen_from = 0
    position.seen_to = 0
    position.last_ns = 0
    position.missing_count = 0
    position.missing = <IdRange*>calloc(MISSING_MAX, sizeof(IdRange))
    if position.missing == NULL:
        raise MemoryError("no room for a position")


cdef void position_free(Position* position) noexcept:
    free(position.missing)
    position.missing = NULL


cdef void forget_oldest(Position* position) noexcept nogil:
    # What is below seen_from is not proven seen any more: it goes on, and DEDUP folds it.
    position.seen_from = position.missing[0].last + 1
    position.missing_count -= 1
    memmove(&position.missing[0], &position.missing[1], position.missing_count * sizeof(IdRange))


cdef void add_missing(Position* position, uint64_t first, uint64_t last) noexcept nogil:
    if position.missing_count == MISSING_MAX:
        forget_oldest(position)
    position.missing[position.missing_count].first = first
    position.missing[position.missing_count].last = last
    position.missing_count += 1


cdef bint take_missing(Position* position, uint64_t trade_id) noexcept nogil:
    """Take one id out of the open holes; 0 when it is in none."""
    cdef uint32_t i
    cdef IdRange* hole
    cdef IdRange rest
    for i in range(position.missing_count):
        hole = &position.missing[i]
        if hole.first <= trade_id <= hole.last:
            rest = hole[0]
            if rest.first == rest.last:
                position.missing_count -= 1
                memmove(hole, hole + 1, (position.missing_count - i) * sizeof(IdRange))
            elif trade_id == rest.first:
                hole.first += 1
            elif trade_id == rest.last:
                hole.last -= 1
            else:
                if position.missing_count == MISSING_MAX:
                    if i == 0:
                        # The hole that would be split is the oldest: keep its upper part only.
                        position.seen_from = trade_id + 1
                        hole.first = trade_id + 1
                        return 1
                    forget_oldest(position)
                    hole -= 1
                    i -= 1
                memmove(hole + 2, hole + 1, (position.missing_count - i - 1) * sizeof(IdRange))
                hole.last = trade_id - 1
                hole[1].first = trade_id + 1
                hole[1].last = rest.last
                position.missing_count += 1
            return 1
    return 0


cdef bint forget_ids(Position* position, uint64_t first, uint64_t last) noexcept nogil:
    cdef uint32_t i = 0
    cdef IdRange hole
    if first > last:
        return 1
    while i < position.missing_count:
        hole = position.missing[i]
        if hole.last < first or hole.first > last:
            i += 1
            continue
        if hole.first < first and hole.last > last and position.missing_count == MISSING_MAX:
            return 0
        position.missing_count -= 1
        memmove(&position.missing[i], &position.missing[i + 1], (position.missing_count - i) * sizeof(IdRange))
        if hole.last > last:
            insert_missing(position, i, last + 1, hole.last)
        if hole.first < first:
            insert_missing(position, i, hole.first, first - 1)
            i += 1
        if hole.last >= last:
            break
    return 1


cdef void insert_missing(Position* position, uint32_t at, uint64_t first, uint64_t last) noexcept nogil:
    memmove(&position.missing[at + 1], &position.missing[at], (position.missing_count - at) * sizeof(IdRange))
    position.missing[at].first = first
    position.missing[at].last = last
    position.missing_count += 1


cdef Verdict observe_id(Position* position, uint64_t trade_id, int64_t exchange_ns, IdRange* hole) noexcept nogil:
    cdef Verdict verdict
    if position.seen_to == 0:
        position.seen_from = trade_id
        position.seen_to = trade_id
        verdict = VERDICT_NEW
    elif trade_id == position.seen_to + 1:
        position.seen_to = trade_id
        verdict = VERDICT_NEW
    elif trade_id > position.seen_to:
        hole.first = position.seen_to + 1
        hole.last = trade_id - 1
        add_missing(position, hole.first, hole.last)
        position.seen_to = trade_id
        verdict = VERDICT_JUMP
    elif exchange_ns > position.last_ns + RESET_AFTER_NS and not in_missing(position, trade_id):
        # A repeat cannot be younger than the youngest row seen: the venue counts anew.
        position.seen_from = trade_id
        position.seen_to = trade_id
        position.missing_count = 0
        verdict = VERDICT_RESET
    elif trade_id < position.seen_from:
        verdict = VERDICT_NEW
    elif take_missing(position, trade_id):
        verdict = VERDICT_LATE
    else:
        return VERDICT_REPEAT
    if exchange_ns > position.last_ns:
        position.last_ns = exchange_ns
    return verdict


cdef bint in_missing(Position* position, uint64_t trade_id) noexcept nogil:
    cdef uint32_t i
    for i in range(position.missing_count):
        if position.missing[i].first <= trade_id <= position.missing[i].last:
            return 1
    return 0


cdef Verdict observe_range(Position* position, uint64_t first, uint64_t last, int64_t exchange_ns,
                           IdRange* skipped, IdRange* merged) noexcept nogil:
    cdef Verdict verdict = VERDICT_NEW
    skipped.first = 0
    skipped.last = 0
    merged.first = first
    merged.last = last
    if last < first:
        return VERDICT_REPEAT
    if position.seen_to == 0:
        position.seen_from = first
    elif last > position.seen_to:
        verdict = VERDICT_JUMP
        if first > position.seen_to + 1:
            skipped.first = position.seen_to + 1
            skipped.last = first - 1
        elif first >= position.seen_from:
            merged.first = position.seen_to + 1
        first = position.seen_to + 1
    elif exchange_ns > position.last_ns + RESET_AFTER_NS and not in_missing(position, last):
        verdict = VERDICT_RESET
        position.seen_from = first
        position.missing_count = 0
    else:
        # From seen_from on it is proven seen or was told as missing before.
        if first >= position.seen_from:
            return VERDICT_REPEAT
        if last >= position.seen_from:
            merged.last = position.seen_from - 1
        return VERDICT_NEW
    position.seen_to = last
    add_missing(position, first, last)
    return verdict


cdef class SeenIds:
    """A direct-mapped table of the hashes of recent rows: an old one is overwritten, never misjudged.

    Two different rows are taken for one only if all 64 bits of their hashes agree.
    """

    def __cinit__(self):
        self.hashes = <uint64_t*>calloc(SEEN_SLOTS, sizeof(uint64_t))
        if self.hashes == NULL:
            raise MemoryError("no room for recent ids")

    def __dealloc__(self):
        free(self.hashes)

    cdef bint seen_before(self, uint64_t key) noexcept nogil:
        cdef uint64_t* slot = &self.hashes[key & (SEEN_SLOTS - 1)]
        if slot[0] == key:
            return 1
        slot[0] = key
        return 0


cdef class Sequence:
    """One instrument's position, for tests and for the start: observe ids, ask what is missing."""

    cdef Position position

    def __cinit__(self):
        position_init(&self.position)

    def __dealloc__(self):
        position_free(&self.position)

    def observe(self, uint64_t trade_id, int64_t exchange_ns=0):
        """Judge one id: ``("new" | "repeat" | "jump" | "late" | "reset", hole or None)``."""
        cdef IdRange hole
        cdef Verdict verdict = observe_id(&self.position, trade_id, exchange_ns, &hole)
        return ("new", "repeat", "jump", "late", "reset")[verdict], (
            (hole.first, hole.last) if verdict == VERDICT_JUMP else None)

    def observe_range(self, uint64_t first, uint64_t last, int64_t exchange_ns=0):
        """A merged range: ``(ids skipped before it, ids of it that are not seen)``, each a pair or None."""
        cdef IdRange skipped, merged
        cdef Verdict verdict = observe_range(&self.position, first, last, exchange_ns, &skipped, &merged)
        if verdict == VERDICT_REPEAT:
            return None, None
        return (skipped.first, skipped.last) if skipped.last else None, (merged.first, merged.last)

    def forget(self, uint64_t first, uint64_t last):
        """As ``InstrumentTable.forget``."""
        return bool(forget_ids(&self.position, first, last))

    @property
    def missing(self):
        """Open holes, oldest first: ``[(first id, last id)]``."""
        return [(self.position.missing[i].first, self.position.missing[i].last)
                for i in range(self.position.missing_count)]

    @property
    def seen(self):
        """``(seen_from, seen_to)``; ids below seen_from are not proven seen."""
        return self.position.seen_from, self.position.seen_to
