"""The scanner loop: one nogil call per received chunk, Python objects only for what is no trade."""
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from cpython.bytes cimport PyBytes_FromStringAndSize

from pumpwatch._fast.frames cimport (
    FRAME_CONTROL, FRAME_MESSAGE, FRAME_MORE, FRAME_PART, FRAME_UTF8, OP_BINARY, FrameStatus, assembly_free, frame_size,
    next_frame,
)
from pumpwatch._fast.ilp cimport render_received
from pumpwatch._fast.parser cimport parse_message
from pumpwatch._fast.road cimport (
    REFUSED_NOT, TALLY_SHIFT, TALLY_SPANS, lane_begin_tally, lane_free, lane_take_news,
)
from pumpwatch._fast.trade cimport PARSE_OTHER, PARSE_TRADES
from pumpwatch._fast.utf8 cimport is_utf8

from pumpwatch._fast.frames import CLOSE_CODES, ERROR_TEXTS
from pumpwatch._fast.road import REFUSALS
from pumpwatch.errors import ProtocolError

SPAN_SHIFT = TALLY_SHIFT

cdef enum:
    FOR_SESSION = -1
    REASON_MALFORMED = 16
    REASON_BINARY = 17
    REASON_UTF8 = 18
    STATUS_NO_MEMORY = 99

# So long without a trade, a connection is quiet: the venue does not hold back what it has no room
# to send while we are behind.
cdef int64_t NO_TRADES_NS = 5000000000

REASONS = {
    **REFUSALS, REASON_MALFORMED: "malformed", REASON_BINARY: "binary", REASON_UTF8: "utf8",
}


cdef bint grow(char** data, Py_ssize_t* capacity, Py_ssize_t wanted) noexcept nogil:
    cdef Py_ssize_t size = capacity[0] if capacity[0] else 4096
    cdef char* grown
    if wanted <= capacity[0]:
        return 1
    while size < wanted:
        size *= 2
    grown = <char*>realloc(data[0], size)
    if grown == NULL:
        return 0
    data[0] = grown
    capacity[0] = size
    return 1


cdef class Intake:
    """Bytes of one connection in, control frames out; rows go to the feed's RowBuffer.

    Not usable after ``feed`` raised: the stream has lost its frame boundaries.
    """

    def __cinit__(self, FeedRoad road):
        self.road = road

    def __dealloc__(self):
        lane_free(&self.lane)
        assembly_free(&self.assembly)
        free(self.carry)
        free(self.kept_text)
        free(self.kept)
        free(self.control)

    def feed(self, bytes data, int64_t receive_ns) -> bytes:
        """Take received bytes in; returns the bytes of the control frames among them.

        ``receive_ns`` is our clock, ns since 1970 UTC. Raises ProtocolError (its ``close_code`` is
        RFC 6455's) behind the last good frame.
        """
        cdef const char* text = data
        cdef const char* at
        cdef Py_ssize_t size = len(data), used = 0
        cdef int status
        if receive_ns <= 0:
            raise ValueError(f"receive_ns {receive_ns} is no time")
        self.bytes_received += size
        self.lane.receive_ns = receive_ns
        self.lane.received_bytes = render_received(self.lane.received, receive_ns)
        self.control_size = 0
        with nogil:
            status = self.finish_carry(text, size, &used)
            if status == FRAME_MORE and self.carry_size == 0:
                at = text + used
                status = self.scan(at, size - used, &used)
                at += used
                size -= at - text
                if status == FRAME_MORE and size:
                    if grow(&self.carry, &self.carry_capacity, size):
                        memcpy(self.carry, at, size)
                        self.carry_size = size
                    else:
                        status = STATUS_NO_MEMORY
        if status == STATUS_NO_MEMORY:
            raise MemoryError("no room for received bytes")
        if status != FRAME_MORE:
            error = ProtocolError(f"{self.road.parser.feed}: {ERROR_TEXTS[status]}")
            error.close_code = CLOSE_CODES[status]
            raise error
        return PyBytes_FromStringAndSize(self.control, self.control_size)

    cdef int finish_carry(self, const char* data, Py_ssize_t size, Py_ssize_t* used) noexcept nogil:
        """Complete the frame that an earlier chunk cut, and only that one: the rest is read in place."""
        cdef Py_ssize_t missing, done
        cdef int status
        used[0] = 0
        while self.carry_size:
            missing = min(frame_size(self.carry, self.carry_size) - self.carry_size, size - used[0])
            if not grow(&self.carry, &self.carry_capacity, self.carry_size + missing):
                return STATUS_NO_MEMORY
            memcpy(self.carry + self.carry_size, data + used[0], missing)
            self.carry_size += missing
            used[0] += missing
            status = self.scan(self.carry, self.carry_size, &done)
            if status != FRAME_MORE:
                return status
            if done:
                self.carry_size = 0
            elif missing == 0:
                return FRAME_MORE
        return FRAME_MORE

    cdef int scan(self, const char* data, Py_ssize_t size, Py_ssize_t* used) noexcept nogil:
        cdef const char* at = data
        cdef const char* end = data + size
        cdef Frame frame
        cdef FrameStatus status
        cdef int taken
        while True:
            status = next_frame(at, end, &self.assembly, &frame)
            if status == FRAME_MESSAGE:
                taken = self.take_message(&frame)
                if taken != FRAME_MORE:
                    used[0] = at - data
                    return taken
            elif status == FRAME_CONTROL:
                if not grow(&self.control, &self.control_capacity, self.control_size + frame.frame_bytes):
                    used[0] = at - data
                    return STATUS_NO_MEMORY
                memcpy(self.control + self.control_size, frame.frame, frame.frame_bytes)
                self.control_size += frame.frame_bytes
            elif status != FRAME_PART:
                used[0] = at - data
                return status
            at += frame.frame_bytes

    cdef int take_message(self, Frame* frame) noexcept nogil:
        """FRAME_MORE, or what ends the connection."""
        cdef ParseStatus status
        cdef Refusal refusal
        cdef int64_t refused_rows = 0
        cdef int kept
        self.messages += 1
        self.road.counts.messages += 1
        if frame.opcode == OP_BINARY:
            return self.set_aside(frame, REASON_BINARY)
        if not is_utf8(frame.payload, frame.payload_bytes):
            kept = self.set_aside(frame, REASON_UTF8)
            return FRAME_UTF8 if kept == FRAME_MORE else kept
        status = parse_message(self.road.parser.run, frame.payload, frame.payload_bytes, &self.road.batch)
        if status == PARSE_TRADES:
            self.trades += self.road.batch.count
            refusal = self.road.take_batch(&self.lane, &refused_rows)
            if refusal == REFUSED_NOT:
                return FRAME_MORE
            return self.keep(frame, refused_rows, <int>refusal)
        if status == PARSE_OTHER:
            self.road.counts.other += 1
            return self.keep(frame, 0, FOR_SESSION)
        return self.set_aside(frame, REASON_MALFORMED)

    cdef int set_aside(self, Frame* frame, int reason) noexcept nogil:
        """A message of which no row could be read."""
        self.road.counts.quarantined_messages += 1
        return self.keep(frame, 0, reason)

    cdef int keep(self, Frame* frame, int64_t rows, int reason) noexcept nogil:
        cdef Py_ssize_t capacity = self.kept_capacity * sizeof(Kept), size = frame.payload_bytes
        cdef Kept* entry
        if not grow(&self.kept_text, &self.kept_text_capacity, self.kept_text_size + size + 1):
            return STATUS_NO_MEMORY
        if not grow(<char**>&self.kept, &capacity, (self.kept_count + 1) * sizeof(Kept)):
            return STATUS_NO_MEMORY
        self.kept_capacity = capacity // sizeof(Kept)
        memcpy(self.kept_text + self.kept_text_size, frame.payload, size)
        entry = &self.kept[self.kept_count]
        entry.offset = self.kept_text_size
        entry.size = size
        entry.rows = rows
        entry.reason = reason
        self.kept_text_size += size
        self.kept_count += 1
        return FRAME_MORE

    @property
    def has_news(self):
        """True when ``take_kept`` or ``take_news`` would return something."""
        return self.kept_count > 0 or self.lane.news_count > 0

    def take_kept(self):
        """``(messages, quarantine)`` since the last call.

        Messages are for the session (bytes, no trades in them); quarantine entries are
        ``(reason, raw message, rows refused in it)``, rows 0 where it could not be read at all.
        """
        cdef Py_ssize_t i
        messages, quarantine = [], []
        for i in range(self.kept_count):
            raw = PyBytes_FromStringAndSize(self.kept_text + self.kept[i].offset, self.kept[i].size)
            if self.kept[i].reason == FOR_SESSION:
                messages.append(raw)
            else:
                quarantine.append((REASONS[self.kept[i].reason], raw, self.kept[i].rows))
        self.kept_count = 0
        self.kept_text_size = 0
        return messages, quarantine

    def take_news(self):
        """Holes seen since the last call: ``(cause, instrument number, first id, last id, from_ns, to_ns)``.

        Causes: id_jump, id_reset, merged_range, unaligned. Times are exchange time; from_ns 0 = unknown.
        """
        return lane_take_news(&self.lane)

    @property
    def instruments_met(self):
        """How many instruments delivered a row on this connection."""
        cdef uint32_t i, met = 0
        for i in range(self.lane.capacity):
            met += self.lane.met[i]
        return met

    def heard_ns(self, uint32_t number) -> int:
        """When this instrument's last row, repeat or not, came on this connection (our clock, ns); 0: none did."""
        return self.lane.heard_ns[number] if number < self.lane.capacity else 0

    def heard_since(self, int64_t since_ns):
        """Numbers of the instruments of which a row came on this connection at ``since_ns`` or later."""
        cdef uint32_t i
        return [i for i in range(self.lane.capacity) if self.lane.heard_ns[i] >= since_ns and self.lane.heard_ns[i]]

    @property
    def receive_ns(self):
        """When bytes came last (our clock, ns); 0: none did."""
        return self.lane.receive_ns

    def emptied(self, int64_t at_ns):
        """Nothing that the venue had sent lay unread in the socket then (our clock)."""
        self.lane.emptied_ns = at_ns

    @property
    def read_to_ns(self):
        """Until when all that the venue sent was read (our clock, ns), if clocks agree; 0: not known.

        While trades come it is the newest one's exchange time: in a process that is behind with
        reading, the moment of a read says nothing about what lies behind it. Where none came for
        some seconds, it is when the socket was empty.
        """
        if self.lane.emptied_ns - self.lane.brought_ns >= NO_TRADES_NS:
            return self.lane.emptied_ns
        return min(self.lane.newest_ns, self.lane.brought_ns)

    def begin_tally(self):
        """Count rows by span of exchange time from now on, to be compared with another connection's."""
        if not lane_begin_tally(&self.lane):
            raise MemoryError("no room for a tally")

    def take_tally(self, int64_t span):
        """``{instrument number: rows}`` of one span (exchange ns >> 33), which begins anew.

        To be read when our clock is three spans on, or up to six.
        """
        cdef uint32_t i
        cdef uint32_t* rows
        counted = {}
        if self.lane.tally == NULL:
            return counted
        for i in range(self.lane.capacity):
            rows = &self.lane.tally[i * TALLY_SPANS + (span & (TALLY_SPANS - 1))]
            if rows[0]:
                counted[i] = rows[0]
                rows[0] = 0
        return counted
