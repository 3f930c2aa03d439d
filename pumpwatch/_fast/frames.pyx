"""The frame scanner: where frames begin and end, fragments put together, nothing understood."""
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

ERROR_TEXTS = {
    FRAME_MASKED: "a masked frame from the server",
    FRAME_RESERVED: "reserved bits set without an extension",
    FRAME_OPCODE: "an unknown opcode",
    FRAME_CONTROL_LONG: "a control frame that is fragmented or longer than 125 bytes",
    FRAME_CONTINUATION: "a continuation without a start, or a start inside a message",
    FRAME_TOO_LARGE: "a message larger than 1 MiB",
    FRAME_LENGTH: "a length not in its shortest form",
    FRAME_UTF8: "a text message that is not UTF-8",
}
# RFC 6455 section 7.4.1: 1002 protocol error, 1007 not UTF-8, 1009 message too big.
CLOSE_CODES = dict.fromkeys(ERROR_TEXTS, 1002) | {FRAME_UTF8: 1007, FRAME_TOO_LARGE: 1009}


cdef void assembly_free(Assembly* assembly) noexcept:
    free(assembly.data)
    assembly.data = NULL


cdef bint assembly_add(Assembly* assembly, const char* payload, Py_ssize_t size_bytes) noexcept nogil:
    cdef Py_ssize_t wanted = assembly.size + size_bytes
    cdef Py_ssize_t capacity
    cdef char* data
    if wanted > MESSAGE_BYTES_MAX:
        return 0
    if wanted > assembly.capacity or assembly.data == NULL:
        capacity = assembly.capacity * 2 if assembly.capacity else 4096
        while capacity < wanted:
            capacity *= 2
        data = <char*>realloc(assembly.data, capacity)
        if data == NULL:
            return 0
        assembly.data = data
        assembly.capacity = capacity
    memcpy(assembly.data + assembly.size, payload, size_bytes)
    assembly.size = wanted
    return 1


cdef FrameStatus take_data(bint final, uint8_t opcode, Assembly* assembly, Frame* out) noexcept nogil:
    if opcode == OP_CONTINUATION:
        if assembly.opcode == 0:
            return FRAME_CONTINUATION
    elif assembly.opcode != 0:
        return FRAME_CONTINUATION
    elif final:
        out.opcode = opcode
        return FRAME_MESSAGE
    else:
        assembly.opcode = opcode
        assembly.size = 0
    if not assembly_add(assembly, out.payload, out.payload_bytes):
        return FRAME_TOO_LARGE
    if not final:
        return FRAME_PART
    out.opcode = assembly.opcode
    out.payload = assembly.data
    out.payload_bytes = assembly.size
    assembly.opcode = 0
    return FRAME_MESSAGE


cdef Py_ssize_t frame_size(const char* at, Py_ssize_t known_bytes) noexcept nogil:
    cdef uint64_t size
    cdef int header = 2, i
    if known_bytes < 2:
        return 2
    size = <uint8_t>at[1] & 0x7F
    if size >= 126:
        header = 4 if size == 126 else 10
        if known_bytes < header:
            return header
        size = 0
        for i in range(2, header):
            size = size << 8 | <uint8_t>at[i]
    # A frame that is too large is refused by its header.
    return header + (<Py_ssize_t>size if size <= MESSAGE_BYTES_MAX else 0)


cdef FrameStatus next_frame(const char* at, const char* end, Assembly* assembly, Frame* out) noexcept nogil:
    cdef uint8_t first, opcode
    cdef uint64_t size
    cdef int header = 2, i
    if end - at < 2:
        return FRAME_MORE
    first = <uint8_t>at[0]
    opcode = first & 0x0F
    size = <uint8_t>at[1] & 0x7F
    if first & 0x70:
        return FRAME_RESERVED
    if <uint8_t>at[1] & 0x80:
        return FRAME_MASKED
    if opcode > OP_PONG or OP_BINARY < opcode < OP_CLOSE:
        return FRAME_OPCODE
    if opcode >= OP_CLOSE and (size > 125 or not first & 0x80):
        return FRAME_CONTROL_LONG
    if size >= 126:
        header = 4 if size == 126 else 10
        if end - at < header:
            return FRAME_MORE
        size = 0
        for i in range(2, header):
            size = size << 8 | <uint8_t>at[i]
        if size < (126 if header == 4 else 65536):
            return FRAME_LENGTH
    # Refused before it is waited for: memory never grows beyond the limit.
    if size > MESSAGE_BYTES_MAX:
        return FRAME_TOO_LARGE
    if <uint64_t>(end - at - header) < size:
        return FRAME_MORE
    out.frame = at
    out.frame_bytes = header + <Py_ssize_t>size
    out.payload = at + header
    out.payload_bytes = <Py_ssize_t>size
    if opcode >= OP_CLOSE:
        out.opcode = opcode
        return FRAME_CONTROL
    return take_data(first & 0x80 != 0, opcode, assembly, out)


def count_frames(bytes data):
    """``(data messages, control frames, FrameStatus at the end)``; for benchmarks: nothing is kept."""
    cdef const char* at = data
    cdef const char* end = at + len(data)
    cdef Py_ssize_t messages = 0, controls = 0
    cdef Assembly assembly
    cdef Frame frame
    cdef FrameStatus status
    memset(&assembly, 0, sizeof(Assembly))
    with nogil:
        while True:
            status = next_frame(at, end, &assembly, &frame)
            if status == FRAME_MESSAGE:
                messages += 1
            elif status == FRAME_CONTROL:
                controls += 1
            elif status != FRAME_PART:
                break
            at += frame.frame_bytes
    assembly_free(&assembly)
    return messages, controls, <int>status
