"""WebSocket frames (RFC 6455 section 5.2), server to client: data out, control frames handed on."""
from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    MESSAGE_BYTES_MAX = 1048576          # the largest message of a venue allowed for (FEEDS.md section 11)

cdef enum Opcode:
    OP_CONTINUATION = 0
    OP_TEXT = 1
    OP_BINARY = 2
    OP_CLOSE = 8
    OP_PING = 9
    OP_PONG = 10

cdef enum FrameStatus:
    FRAME_MORE = 0          # no whole frame: come back with more bytes
    FRAME_MESSAGE = 1       # ``payload`` is a whole text or binary message
    FRAME_CONTROL = 2       # ``frame`` is a whole control frame, header and all
    FRAME_PART = 3          # a fragment was taken in; go on
    FRAME_MASKED = 4        # errors: the venue broke the protocol
    FRAME_RESERVED = 5
    FRAME_OPCODE = 6
    FRAME_CONTROL_LONG = 7
    FRAME_CONTINUATION = 8
    FRAME_TOO_LARGE = 9
    FRAME_LENGTH = 10
    FRAME_UTF8 = 11         # found by who takes the message; ``next_frame`` looks at no payload

cdef struct Assembly:       # a fragmented message under way
    char* data
    Py_ssize_t size
    Py_ssize_t capacity
    uint8_t opcode          # 0: none under way

cdef struct Frame:
    const char* frame       # the whole frame
    Py_ssize_t frame_bytes
    const char* payload
    Py_ssize_t payload_bytes
    uint8_t opcode          # of the message: OP_TEXT or OP_BINARY; of a control frame its own


# The next frame at ``at``; on FRAME_MESSAGE, _CONTROL and _PART the caller goes on at
# ``at + out.frame_bytes``. A payload is valid until the next call or until ``at``'s bytes go.
cdef FrameStatus next_frame(const char* at, const char* end, Assembly* assembly, Frame* out) noexcept nogil

# How many bytes from ``at`` on belong to the frame there; as many as say so where too few are known.
cdef Py_ssize_t frame_size(const char* at, Py_ssize_t known_bytes) noexcept nogil

cdef void assembly_free(Assembly* assembly) noexcept
