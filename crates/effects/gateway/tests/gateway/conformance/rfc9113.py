# What RFC 9113 (HTTP/2) and RFC 7541 (HPACK) say of frames that no client should send, and of some that it may. Each case:
# section, name, what must come back, and what is sent. What comes back is of a stream (`200`, `RST CODE`, and then the
# connection must go on) or of the connection (`GOAWAY CODE`, and then it must be closed). An error of a stream may be taken
# for one of the connection (section 5.4.1).
#
# `known`: what comes back instead, and why that is left so.
#
# Requests for /never/... must reach no instance.
import struct

from wire import (
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, HOST, PADDED, PING, PREFACE, PRIO, PRIORITY, PUSH,
    RST, SETTINGS, WINDOW, Conn, frame,
)

MALFORMED = ("RST PROTOCOL_ERROR", "400", "GOAWAY PROTOCOL_ERROR")
PROTOCOL, SIZE = "GOAWAY PROTOCOL_ERROR", "GOAWAY FRAME_SIZE_ERROR"
COMPRESSION, FLOW, CLOSED = "GOAWAY COMPRESSION_ERROR", "GOAWAY FLOW_CONTROL_ERROR", "GOAWAY STREAM_CLOSED"
ENDED = ("RST STREAM_CLOSED", "GOAWAY STREAM_CLOSED")
# The library that reads the frames says so of every frame and header block that cannot be read; the connection ends all
# the same, and nothing of it reaches an instance.
CODE = ("GOAWAY PROTOCOL_ERROR", "h2 has one code for all that it cannot read")
NEVER = "/never/"
CASES = []


def case(section, what, expected, send, known=None):
    expected = (expected,) if isinstance(expected, str) else expected
    CASES.append((section, what, expected, send, known))


def sends(*makers, stream=1):
    """Sends these at once, each made with the connection at hand, and looks at a stream."""

    def send(c):
        c.send(*[make(c) if callable(make) else make for make in makers])
        return stream

    return send


def conn(*makers):
    return sends(*makers, stream=None)


def ask(stream=1, path="/", **how):
    return lambda c: c.ask(stream, path, **how)


def open_post(stream=1, path="/echo", more=()):
    return lambda c: c.ask(stream, path, end=False, method="POST", more=more)


def data(payload=b"", end=False, stream=1, flags=0):
    return frame(DATA, flags | (END_STREAM if end else 0), stream, payload)


def u32(*numbers):
    return struct.pack(">" + "I" * len(numbers), *numbers)


def setting(number, value):
    return struct.pack(">HI", number, value)


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(setting(*pair) for pair in pairs))


def window(stream, more):
    return frame(WINDOW, 0, stream, u32(more))


def bad(fields=(), drop=(), add=(), method="GET", end=True):
    return ask(1, NEVER, more=fields, drop=drop, add=add, method=method, end=end)


def block(encoded, stream=1):
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, encoded)


def finished(c, stream=1, path="/"):
    c.send(c.ask(stream, path))
    assert c.outcome(stream) == "200"


# 3.4: the preface.
def preface(*parts):
    def send(c):
        c.send(*parts)
        return None

    send.silent = True
    return send


case("3.4", "a preface that is wrong in its second half", ("closed", PROTOCOL), preface(PREFACE[:18] + b"XX\r\n\r\n", frame(SETTINGS)))
case("3.4", "a preface in lower case", ("closed", PROTOCOL), preface(PREFACE.lower(), frame(SETTINGS)))
case("3.4", "a request instead of the first SETTINGS", PROTOCOL, lambda c: c.send(PREFACE, c.ask(1)) or 1,
     known=("200", "h2 takes the first frames in any order"))
CASES[-1][3].silent = True
case("3.4", "a request in one breath with the preface", "200", lambda c: c.send(PREFACE, frame(SETTINGS), c.ask(1)) or 1)
CASES[-1][3].silent = True

# 4.1: the frame's head.
case("4.1", "a frame of an unknown type", "200", sends(frame(0x42, 0xFF, 0, b"what"), ask()))
case("4.1", "a frame of an unknown type on a stream", "200", sends(open_post(), frame(0x42, 0, 1, b"what"), data(b"x", end=True)))
case("4.1", "flags that a PING has not", "200", sends(frame(PING, 0xFE, 0, b"12345678"), ask()))
case("4.1", "flags that DATA has not", "200", sends(open_post(), data(b"x", True, flags=0x76 & ~PADDED)))
case("4.1", "the reserved bit of a stream's number", "200", sends(lambda c: frame(HEADERS, END_HEADERS | END_STREAM, 0x8000_0001, c.head())))

# 4.2: sizes.
case("4.2", "DATA of the largest size", "200", sends(open_post(), data(b"x" * 16384, True)))
case("4.2", "DATA that is too large", (SIZE, "RST FRAME_SIZE_ERROR"), conn(open_post(path="/"), data(b"x" * 16385, True)))
case("4.2", "HEADERS that are too large", SIZE, conn(lambda c: frame(HEADERS, END_HEADERS | END_STREAM, 1, c.head() + b"\0" * 16385)))
case("4.2", "a length alone that is too large", SIZE, conn(frame(SETTINGS, 0, 0, b"", length=16_777_215)))
case("4.2", "an unknown frame that is too large", SIZE, conn(frame(0x42, 0, 0, b"x" * 16385)))

# 4.3 and RFC 7541: header compression.
case("4.3", "an index beyond both tables", COMPRESSION, conn(lambda c: block(c.head() + b"\xff\x20")), known=CODE)
case("7541 6.1", "an index of 0", COMPRESSION, conn(lambda c: block(c.head() + b"\x80")), known=CODE)
case("7541 5.1", "a number without an end", COMPRESSION, conn(lambda c: block(c.head() + b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")), known=CODE)
case("7541 5.2", "a text that is cut off", COMPRESSION, conn(lambda c: block(c.head() + b"\x40\x05ab")), known=CODE)
case("7541 5.2", "Huffman padding of a whole byte", COMPRESSION, conn(lambda c: block(c.head() + b"\x40\x01a\x82\x1f\xff")), known=CODE)
case("7541 5.2", "Huffman padding of zeros", COMPRESSION, conn(lambda c: block(c.head() + b"\x40\x01a\x81\x18")), known=CODE)
case("7541 5.2", "Huffman with the end of a text in it", COMPRESSION, conn(lambda c: block(c.head() + b"\x40\x01a\x84\xff\xff\xff\xff")), known=CODE)
case("7541 6.3", "a table that is larger than was allowed", COMPRESSION, conn(lambda c: block(b"\x3f\xe1\x5f" + c.head())), known=CODE)
case("7541 4.2", "a change of the table's size behind a field", COMPRESSION, conn(lambda c: block(c.head() + b"\x20")), known=CODE)
case("7541 4.2", "a table of no size, and back", "200", sends(lambda c: block(b"\x20\x3f\xe1\x1f" + c.head())))
case("7541 2.3.2", "an index that the table's new size has evicted", COMPRESSION, conn(
    lambda c: block(c.head(more=[("x-mine", "1")])), lambda c: block(b"\x20\x82\x87\x84\xbe", 3)), known=CODE)
case("4.3", "fields that were kept from one request to the next", "200", sends(ask(more=[("x-a", "b")]), ask(3, more=[("x-a", "b")]), stream=3))

# 5.1: what a stream may be sent in each state.
case("5.1 idle", "DATA", PROTOCOL, conn(data(b"x", True)))
case("5.1 idle", "RST_STREAM", PROTOCOL, conn(frame(RST, 0, 1, u32(8))))
case("5.1 idle", "WINDOW_UPDATE", PROTOCOL, conn(window(1, 10)))
case("5.1 idle", "CONTINUATION", PROTOCOL, conn(lambda c: frame(CONTINUATION, END_HEADERS, 1, c.head())))
case("5.1 idle", "PRIORITY", "200", sends(frame(PRIORITY, 0, 1, u32(0) + b"\x10"), ask()))
case("5.1 half-closed", "DATA", ENDED, sends(ask(path="/slow"), data(b"x", True)), known=CODE)
case("5.1 half-closed", "HEADERS", ENDED, sends(ask(path="/slow"), ask(path="/slow")), known=CODE)
case("5.1 half-closed", "CONTINUATION", PROTOCOL, conn(ask(path="/slow"), lambda c: frame(CONTINUATION, END_HEADERS, 1, b"\x82")))
case("5.1 half-closed", "WINDOW_UPDATE", "200", sends(ask(path="/slow"), window(1, 100)))
case("5.1 half-closed", "PRIORITY", "200", sends(ask(path="/slow"), frame(PRIORITY, 0, 1, u32(0) + b"\x10")))


def after_reset(*makers):
    return sends(open_post(path="/slow"), frame(RST, 0, 1, u32(8)), *makers)


def settled_then(*makers):
    def send(c):
        finished(c)
        c.ended.discard(1)
        return sends(*makers)(c)

    return send


case("5.1 closed", "DATA behind the client's RST_STREAM", ENDED + ("nothing",), after_reset(data(b"x", True)))
case("5.1 closed", "HEADERS behind the client's RST_STREAM", ENDED + (PROTOCOL,), after_reset(ask()))
case("5.1 closed", "WINDOW_UPDATE behind the client's RST_STREAM", "200", sends(open_post(path="/slow"), frame(RST, 0, 1, u32(8)), window(1, 9), ask(3), stream=3))
case("5.1 closed", "RST_STREAM twice", "200", sends(open_post(path="/slow"), frame(RST, 0, 1, u32(8)), frame(RST, 0, 1, u32(8)), ask(3), stream=3))
case("5.1 closed", "DATA behind both ends", (CLOSED, PROTOCOL, "RST STREAM_CLOSED"), settled_then(data(b"x", True)))
case("5.1 closed", "HEADERS behind both ends", (CLOSED, PROTOCOL, "RST STREAM_CLOSED"), settled_then(ask()))
case("5.1 closed", "WINDOW_UPDATE behind both ends", "200", lambda c: finished(c) or sends(window(1, 9), ask(3), stream=3)(c))
case("5.1 closed", "PRIORITY behind both ends", "200", lambda c: finished(c) or sends(frame(PRIORITY, 0, 1, u32(0) + b"\x10"), ask(3), stream=3)(c))

# 5.1.1, 5.1.2: numbers of streams, and how many.
case("5.1.1", "an even number", PROTOCOL, conn(ask(2, NEVER)))
case("5.1.1", "a number below the last one", (PROTOCOL, CLOSED), conn(ask(5), ask(3, NEVER)))
case("5.1.1", "numbers that are left out", "200", sends(ask(1), ask(101), stream=101))
case("5.1.1", "HEADERS on stream 0", PROTOCOL, conn(ask(0, NEVER)))


def too_many(c):
    most = c.settings[3]
    others = [1 + 2 * number for number in range(most)]
    c.send(*[c.ask(stream, "/slow") for stream in others], c.ask(1 + 2 * most, NEVER))
    assert c.until(lambda: all(stream in c.ended for stream in others))
    return 1 + 2 * most


case("5.1.2", "more streams than were allowed", ("RST REFUSED_STREAM", "RST PROTOCOL_ERROR"), too_many)

# 5.3 and 6.3: priorities, which nobody has to follow.
case("6.3", "PRIORITY of four bytes", ("RST FRAME_SIZE_ERROR", SIZE), sends(open_post(path="/slow"), frame(PRIORITY, 0, 1, u32(0))), known=CODE)
case("6.3", "PRIORITY on stream 0", PROTOCOL, conn(frame(PRIORITY, 0, 0, u32(1) + b"\x10")))
case("6.3", "PRIORITY between the frames of a header section", PROTOCOL, conn(
    lambda c: frame(HEADERS, END_STREAM, 1, c.head(NEVER)), frame(PRIORITY, 0, 1, u32(0) + b"\x10")))
case("5.3.2", "PRIORITY on itself", ("200", "RST PROTOCOL_ERROR", PROTOCOL), sends(frame(PRIORITY, 0, 1, u32(1) + b"\x10"), ask()))
case("5.3.2", "HEADERS with a priority", "200", sends(lambda c: frame(HEADERS, END_HEADERS | END_STREAM | PRIO, 1, u32(0) + b"\x10" + c.head())))

# 5.5: extensions.
case("5.5", "an unknown frame within a header section", PROTOCOL, conn(lambda c: frame(HEADERS, END_STREAM, 1, c.head(NEVER)), frame(0x42, 0, 1, b"x")))

# 6.1: DATA.
case("6.1", "on stream 0", PROTOCOL, conn(data(b"x", True, 0)))
case("6.1", "padded", "200", sends(open_post(), data(b"\x03abc\0\0\0", True, flags=PADDED)))
case("6.1", "padding alone", "200", sends(open_post(), data(b"\x03\0\0\0", True, flags=PADDED)))
case("6.1", "padding as long as the frame", PROTOCOL, conn(open_post(), data(b"\x05abcd", True, flags=PADDED)))
case("6.1", "padding that is longer than the frame", PROTOCOL, conn(open_post(), data(b"\xffabc", True, flags=PADDED)))
case("6.1", "padded, without a length of the padding", (PROTOCOL, SIZE), conn(open_post(), data(b"", True, flags=PADDED)))

# 6.2: HEADERS.
case("6.2", "padded", "200", sends(lambda c: frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, b"\x04" + c.head() + b"\0\0\0\0")))
case("6.2", "padding that is longer than the frame", PROTOCOL, conn(lambda c: frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, b"\xff" + c.head(NEVER))))
case("6.2", "DATA within a header section", PROTOCOL, conn(lambda c: frame(HEADERS, 0, 1, c.head(NEVER)), data(b"x", True)))
case("6.2", "HEADERS of another stream within a header section", PROTOCOL, conn(lambda c: frame(HEADERS, END_STREAM, 1, c.head(NEVER)), ask(3, NEVER)))
case("6.2", "PING within a header section", PROTOCOL, conn(lambda c: frame(HEADERS, END_STREAM, 1, c.head(NEVER)), frame(PING, 0, 0, b"12345678")))

# 6.4: RST_STREAM.
case("6.4", "on stream 0", PROTOCOL, conn(frame(RST, 0, 0, u32(8))))
case("6.4", "of three bytes", SIZE, conn(open_post(path="/slow"), frame(RST, 0, 1, b"\0\0\0")), known=CODE)
case("6.4", "of five bytes", SIZE, conn(open_post(path="/slow"), frame(RST, 0, 1, b"\0\0\0\0\0")), known=CODE)
case("7", "an error code that nobody knows", "200", sends(open_post(path="/slow"), frame(RST, 0, 1, u32(0xDEADBEEF)), ask(3), stream=3))

# 6.5: SETTINGS.
case("6.5", "an acknowledgement that says something", SIZE, conn(frame(SETTINGS, ACK, 0, setting(1, 0))), known=CODE)
case("6.5", "on a stream", PROTOCOL, conn(frame(SETTINGS, 0, 1)))
case("6.5", "of five bytes", SIZE, conn(frame(SETTINGS, 0, 0, b"\0\1\0\0\0")), known=CODE)
case("6.5.2", "ENABLE_PUSH of 2", PROTOCOL, conn(settings((2, 2))))
case("6.5.2", "INITIAL_WINDOW_SIZE of 2^31", FLOW, conn(settings((4, 2**31))), known=CODE)
case("6.5.2", "MAX_FRAME_SIZE below the least", PROTOCOL, conn(settings((5, 16383))))
case("6.5.2", "MAX_FRAME_SIZE above the most", PROTOCOL, conn(settings((5, 2**24))))
case("6.5.2", "one that nobody knows", "200", sends(settings((0x4242, 42)), ask()))
case("8441 3", "ENABLE_CONNECT_PROTOCOL of 2", PROTOCOL, conn(settings((8, 2))))


def announced(c):
    # What the gateway says of itself: no table of its own beyond the usual, streams, websockets.
    assert c.settings[8] == 1 and 1 <= c.settings[3] <= 1000, c.settings
    assert 0 < c.settings[6] <= 64 * 1024, c.settings
    return sends(ask())(c)


case("6.5.2", "what the gateway announces", "200", announced)


def acknowledged(c):
    before = c.acks
    c.send(settings((1, 0)), settings((3, 1)), settings())
    assert c.until(lambda: c.acks == before + 3)
    return sends(ask())(c)


case("6.5.3", "each is acknowledged", "200", acknowledged)


def no_table(c):
    # The gateway must say that its table has no size now, and keep nothing in it.
    c.decoder.max_allowed_table_size = 0
    c.send(settings((1, 0)))
    for stream in (1, 3, 5):
        finished(c, stream)
    return 5


case("6.5.2", "HEADER_TABLE_SIZE of 0", "200", no_table)

# 6.6: PUSH_PROMISE.
case("6.6", "from a client", PROTOCOL, conn(ask(path="/slow"), lambda c: frame(PUSH, END_HEADERS, 1, u32(2) + c.head(NEVER))))
case("6.6", "from a client, on an idle stream", PROTOCOL, conn(lambda c: frame(PUSH, END_HEADERS, 1, u32(2) + c.head(NEVER))))


# 6.7: PING.
def ping(c):
    c.send(frame(PING, 0, 0, b"\0\1\2\3\4\5\6\7"))
    assert c.until(lambda: b"\0\1\2\3\4\5\6\7" in c.pongs)
    return sends(ask())(c)


case("6.7", "is answered with the same", "200", ping)
case("6.7", "an answer that nobody waits for", "200", sends(frame(PING, ACK, 0, b"12345678"), ask()))
case("6.7", "of seven bytes", SIZE, conn(frame(PING, 0, 0, b"1234567")), known=CODE)
case("6.7", "of nine bytes", SIZE, conn(frame(PING, 0, 0, b"123456789")), known=CODE)
case("6.7", "on a stream", PROTOCOL, conn(frame(PING, 0, 1, b"12345678")))

# 6.8: GOAWAY.
case("6.8", "on a stream", PROTOCOL, conn(frame(GOAWAY, 0, 1, u32(0, 0))))
case("6.8", "of seven bytes", SIZE, conn(frame(GOAWAY, 0, 0, b"\0" * 7)), known=CODE)


def goodbye(c):
    c.send(c.ask(1, "/slow"), frame(GOAWAY, 0, 0, u32(0, 0)))
    assert c.outcome(1) == "200"
    c.ended.discard(1)
    return None


case("6.8", "what is under way comes to its end", ("GOAWAY NO_ERROR", "closed"), goodbye)

# 6.9: flow control.
case("6.9", "WINDOW_UPDATE of 0 on a stream", ("RST PROTOCOL_ERROR", PROTOCOL), sends(open_post(path="/slow"), window(1, 0)))
case("6.9", "WINDOW_UPDATE of 0 on the connection", PROTOCOL, conn(window(0, 0)))
case("6.9", "WINDOW_UPDATE of three bytes", SIZE, conn(frame(WINDOW, 0, 0, b"\0\0\1")), known=CODE)
case("6.9.1", "a stream's window beyond 2^31-1", "RST FLOW_CONTROL_ERROR", sends(open_post(path="/slow"), window(1, 2**31 - 1)))
case("6.9.1", "the connection's window beyond 2^31-1", FLOW, conn(window(0, 2**31 - 1)))
case("6.9.2", "a window beyond 2^31-1 by SETTINGS", FLOW, conn(open_post(path="/slow"), window(1, 2**31 - 1 - 65535), settings((4, 65536))))


def one_at_a_time(c):
    c.send(settings((4, 1)))
    assert c.until(lambda: c.acks == 2)
    c.send(c.ask(1, "/bytes/4"))
    for size in range(1, 4):
        assert c.until(lambda: len(c.bodies.get(1, b"")) == size), c.bodies
        c.send(frame(PING, 0, 0, bytes([size] * 8)))
        assert c.until(lambda: bytes([size] * 8) in c.pongs)
        assert len(c.bodies[1]) == size, "more than the window has room for"
        c.send(window(1, 1))
    return 1


def below_zero(c):
    c.send(settings((4, 10)))
    assert c.until(lambda: c.acks == 2)
    c.send(c.ask(1, "/bytes/20"))
    assert c.until(lambda: len(c.bodies.get(1, b"")) == 10)
    c.send(settings((4, 5)), window(1, 5))
    assert c.until(lambda: c.acks == 3)
    assert len(c.bodies[1]) == 10, "its window is 0 and not 5"
    c.send(window(1, 3))
    assert c.until(lambda: len(c.bodies[1]) == 13)
    c.send(settings((4, 12)))
    return 1


def shared(c):
    # The connection's window counts for all of its streams, and 65,535 at the beginning whatever SETTINGS say.
    c.send(settings((4, 1_000_000)), c.ask(1, "/bytes/65000"), c.ask(3, "/bytes/65000"))
    both = lambda: sum(len(body) for body in c.bodies.values())
    assert c.until(lambda: both() == 65_535), both()
    c.send(window(0, 100_000))
    assert c.outcome(1) == "200"
    return 3


case("6.9.1", "answers keep to the stream's window", "200", one_at_a_time)
case("6.9.2", "a window below zero by SETTINGS", "200", below_zero)
case("6.9.2", "a window that was closed opens by SETTINGS", "200", lambda c: c.send(settings((4, 0)), c.ask(1)) or c.until(
    lambda: 1 in c.heads) and c.send(settings((4, 100))) or 1)
case("6.9.1", "answers keep to the connection's window", "200", shared)


def beyond(c):
    # The instance never asks for the body, so the gateway takes none of it out of the window.
    c.send(c.ask(1, "/never-continue", end=False, method="POST", more=[("expect", "100-continue"), ("content-length", "400000")]))
    c.send(*[data(b"x" * 16384) for _ in range(20)])
    return 1


case("6.9.1", "more DATA than the window has room for", ("RST FLOW_CONTROL_ERROR", FLOW), beyond)


def given_back(c):
    # Four times the stream's window, as fast as the gateway gives it back.
    total, sent, given = 1_000_000, 0, c.settings[4]
    c.send(c.ask(1, "/echo", end=False, method="POST"), window(0, 2_000_000), window(1, 2_000_000))
    while sent < total:
        room = min(given + c.windows.get(1, 0) - sent, 65_535 + c.windows.get(0, 0) - sent, total - sent, 16384)
        if room <= 0:
            before = dict(c.windows)
            assert c.until(lambda: c.windows != before), "no window is given back"
            continue
        sent += room
        c.send(data(b"x" * room, sent == total))
    assert c.until(lambda: 1 in c.ended) and len(c.bodies[1]) == total
    return 1


case("6.9.1", "the gateway gives windows back", "200", given_back)
case("6.9", "DATA that is dropped is given back too", "200", lambda c: c.send(
    c.ask(1, "/slow", end=False, method="POST"), frame(RST, 0, 1, u32(8)), c.ask(3)) or 3)


# 6.10: CONTINUATION.
def split(*cuts):
    def make(c):
        head = c.head(more=[("x-long", "y" * 50)])
        edges = [0, *cuts, len(head)]
        parts = [head[a:b] for a, b in zip(edges, edges[1:])]
        first = frame(HEADERS, END_STREAM, 1, parts[0])
        middle = [frame(CONTINUATION, 0, 1, part) for part in parts[1:-1]]
        return first + b"".join(middle) + frame(CONTINUATION, END_HEADERS, 1, parts[-1])

    return make


case("6.10", "a header section in two", "200", sends(split(10)))
case("6.10", "a header section in many, some of them empty", "200", sends(split(0, 1, 1, 7, 30, 31)))
case("6.10", "without HEADERS", PROTOCOL, conn(ask(), lambda c: frame(CONTINUATION, END_HEADERS, 1, b"\x82")))
case("6.10", "on stream 0", PROTOCOL, conn(lambda c: frame(HEADERS, END_STREAM, 1, c.head(NEVER)), frame(CONTINUATION, END_HEADERS, 0, b"\x82")))
case("6.10", "on another stream", PROTOCOL, conn(lambda c: frame(HEADERS, END_STREAM, 1, c.head(NEVER)), frame(CONTINUATION, END_HEADERS, 3, b"\x82")))
case("6.10", "without an end", "GOAWAY ENHANCE_YOUR_CALM", conn(
    lambda c: frame(HEADERS, END_STREAM, 1, c.head(NEVER)), *[frame(CONTINUATION, 0, 1, b"\x40\x01a\x7f\x81\x1f" + b"y" * 286)] * 2000))


# 8.1: messages.
def trailers(fields, end=True, more=()):
    return sends(open_post(), data(b"x"), lambda c: c.raw(1, fields, end), *more)


case("8.1", "trailers", "200", trailers([("x-sum", "1")]))
case("8.1", "trailers that do not end the stream", MALFORMED, trailers([("x-sum", "1")], end=False))
case("8.1", "trailers with a pseudo-header", MALFORMED, trailers([(":path", "/x")]), known=("200", "h2 drops them"))
case("8.1", "trailers with a status", MALFORMED, trailers([(":status", "200")]), known=("200", "h2 drops them"))
case("8.1", "trailers with a field of a connection", MALFORMED, trailers([("connection", "close")]))
case("8.1", "trailers with a name in upper case", MALFORMED, trailers([("X-Sum", "1")]))
case("8.1", "DATA behind trailers", ENDED + MALFORMED, trailers([("x-sum", "1")], True, (data(b"y", True),)))
case("8.1.1", "Content-Length that is more than the body", MALFORMED, sends(open_post(more=[("content-length", "5")]), data(b"four", True)))
case("8.1.1", "Content-Length that is less than the body", MALFORMED, sends(open_post(more=[("content-length", "3")]), data(b"four", True)))
case("8.1.1", "Content-Length that is less than the body in all its frames", MALFORMED, sends(
    open_post(more=[("content-length", "3")]), data(b"tw"), data(b"o?", True)))
case("8.1.1", "Content-Length without a body", MALFORMED, sends(bad([("content-length", "3")], method="POST")))
case("8.1.1", "Content-Length twice", MALFORMED, sends(
    open_post(path=NEVER, more=[("content-length", "4"), ("content-length", "4")]), data(b"four", True)))
case("8.1.1", "Content-Length that is no number", MALFORMED, sends(open_post(path=NEVER, more=[("content-length", "+4")]), data(b"four", True)))
case("8.1.1", "Content-Length that is right", "200", sends(open_post(more=[("content-length", "4")]), data(b"four", True)))

# 8.2.1: names and values.
for what, name, value in [
    ("a name in upper case", "X-Mine", "1"),
    ("a name with a space", "x mine", "1"),
    ("a name with a colon", "x:mine", "1"),
    ("a name with a line feed", "x-mine\n", "1"),
    ("a name that is not ASCII", b"x-\xff", b"1"),
    ("an empty name", "", "1"),
    ("a value with a line feed", "x-mine", "1\nx-other: 2"),
    ("a value with a carriage return", "x-mine", "1\rx"),
    ("a value with a zero", "x-mine", "1\0"),
    ("a value with a space before it", "x-mine", " 1"),
    ("a value with a tab behind it", "x-mine", "1\t"),
    ("a name with quotation marks", "x\"mine\"", "1"),
]:
    case("8.2.1", what, MALFORMED, sends(bad([(name, value)])))

# 8.2.2: fields of a connection.
for name, value in [
    ("connection", "keep-alive"), ("proxy-connection", "close"), ("keep-alive", "timeout=5"), ("transfer-encoding", "chunked"),
    ("upgrade", "websocket"), ("te", "gzip"), ("te", "trailers, deflate"),
]:
    case("8.2.2", f"{name}: {value}", MALFORMED, sends(bad([(name, value)])))
case("8.2.2", "te: trailers", "200", sends(ask(more=[("te", "trailers")])))


def crumbs(c):
    c.send(c.ask(1, "/crumbs", more=[("cookie", "a=b"), ("cookie", "c=d"), ("cookie", "e=f")]))
    assert c.outcome(1) == "200"
    assert c.origin.seen["/crumbs"][0].all("cookie") == ["a=b; c=d; e=f"], c.origin.seen["/crumbs"][0].headers
    return 1


case("8.2.3", "cookies come to the instance as one field", "200", crumbs)

# 8.3: pseudo-headers.
for what, how in [
    ("no :method", {"drop": [":method"]}),
    ("no :scheme", {"drop": [":scheme"]}),
    ("no :path", {"drop": [":path"]}),
    ("neither :authority nor host", {"drop": [":authority"]}),
    ("one that is not known", {"add": [(":mine", "1")]}),
    ("one of answers", {"add": [(":status", "200")]}),
    (":method twice", {"add": [(":method", "GET")]}),
    (":scheme twice", {"add": [(":scheme", "http")]}),
    (":path twice", {"add": [(":path", NEVER)]}),
    (":authority twice", {"add": [(":authority", HOST)]}),
    ("one behind a field", {"drop": [":path"], "fields": [("x-mine", "1"), (":path", NEVER)]}),
    ("an empty :path", {"drop": [":path"], "add": [(":path", "")]}),
    ("a :path that does not begin with a slash", {"drop": [":path"], "add": [(":path", "never/")]}),
    ("a :path with a space", {"drop": [":path"], "add": [(":path", "/never/ x")]}),
    ("an empty :method", {"drop": [":method"], "add": [(":method", "")]}),
    ("a :method with a space", {"drop": [":method"], "add": [(":method", "GET /x")]}),
    ("an :authority with a user", {"drop": [":authority"], "add": [(":authority", f"me@{HOST}")]}),
    ("an :authority that is none", {"drop": [":authority"], "add": [(":authority", "a b")]}),
    ("an empty :authority", {"drop": [":authority"], "add": [(":authority", "")]}),
    ("a host that is not :authority", {"fields": [("host", "other.localhost")]}),
    ("host twice", {"drop": [":authority"], "fields": [("host", HOST), ("host", HOST)]}),
    (":protocol of a GET", {"add": [(":protocol", "websocket")]}),
]:
    case("8.3.1", what, MALFORMED, sends(bad(**how)))
case("8.3.1", "a :path with a fragment", MALFORMED, sends(ask(path="/fragment#x")),
     known=("200", "h2 drops the fragment, as hyper does over HTTP/1.1; the access log and the instance see the same path"))
case("8.3.1", "host in place of :authority", "200", sends(ask(drop=[":authority"], more=[("host", HOST)])))
case("8.3.1", "host that is :authority", "200", sends(ask(more=[("host", HOST)])))
case("8.3.1", "OPTIONS of everything", "200", sends(ask(path="*", method="OPTIONS")))
case("8.3.1", "a method that nobody knows", "200", sends(ask(method="PROPFIND-ME")))


def one_host(c):
    c.send(c.ask(1, "/one-host", more=[("host", HOST)]))
    assert c.outcome(1) == "200"
    seen = c.origin.seen["/one-host"][0]
    assert seen.all("host") == [HOST] and not [name for name, _ in seen.headers if name.startswith(":")], seen.headers
    return 1


case("8.3.1", "the instance gets one host", "200", one_host)

# 8.5 and RFC 8441: CONNECT.
case("8.5", "CONNECT", "405", sends(lambda c: c.raw(1, [(":method", "CONNECT"), (":authority", f"{HOST}:80")])))
case("8.5", "CONNECT with a path and no protocol", MALFORMED, sends(bad(method="CONNECT")))
case("8.5", "CONNECT without :authority", MALFORMED + ("405",), sends(lambda c: c.raw(1, [(":method", "CONNECT")])))
case("8441 4", "CONNECT for a protocol that is not served", "501", sends(bad(method="CONNECT", add=[(":protocol", "connect-udp")])))
case("8441 4", "CONNECT for a websocket without :path", MALFORMED, sends(bad(method="CONNECT", drop=[":path"], add=[(":protocol", "websocket")])))
case("8441 4", "CONNECT for a websocket without :scheme", MALFORMED, sends(bad(method="CONNECT", drop=[":scheme"], add=[(":protocol", "websocket")])))
case("8441 4", "CONNECT for a websocket with a body", MALFORMED, sends(
    bad([("content-length", "5")], method="CONNECT", add=[(":protocol", "websocket")], end=False), data(b"hello")),
     known=("closed", "hyper ends such a connection without a word"))
case("8441 4", ":protocol twice", MALFORMED, sends(bad(method="CONNECT", add=[(":protocol", "websocket"), (":protocol", "websocket")])))

# 8.1: answers, as the client gets them.
case("8.1", "HEAD", "200", sends(ask(method="HEAD")))


def answer(c):
    finished(c)
    head = c.heads[1]
    assert not {"connection", "transfer-encoding", "keep-alive", "upgrade"} & head.keys(), head
    assert all(name == name.lower() for name in head), head
    return 1


case("8.2.2", "answers have no field of a connection", "200", answer)

# 10.5: what is too much.
case("10.5.1", "a header section that is too large", ("431", "RST PROTOCOL_ERROR", "RST ENHANCE_YOUR_CALM", "RST REFUSED_STREAM"),
     sends(lambda c: c.ask(1, NEVER, more=[(f"x-{number}", "y" * 100) for number in range(140)])))
case("10.5", "PINGs without an end", ("closed", "GOAWAY ENHANCE_YOUR_CALM"), conn(frame(PING, 0, 0, b"12345678") * 5000))
case("10.5", "SETTINGS without an end", ("closed", "GOAWAY ENHANCE_YOUR_CALM"), conn(settings((1, 4096)) * 5000))
case("10.5", "empty DATA without an end", ("closed", "GOAWAY ENHANCE_YOUR_CALM"), conn(open_post(path="/slow"), data() * 5000))
case("10.5", "requests taken back without an end", ("closed", "GOAWAY ENHANCE_YOUR_CALM"), lambda c: c.send(
    *[c.ask(1 + 2 * number) + frame(RST, 0, 1 + 2 * number, u32(8)) for number in range(1000)]))


def run(address, origin, one):
    """What came back to one case, and whether it is what must."""
    _, _, expected, send, _ = one
    c = Conn(address, hello=not hasattr(send, "silent"))
    c.origin = origin
    try:
        stream = send(c)
        got = c.outcome(stream)
        if stream is not None and got in expected and not got.startswith("GOAWAY") and got != "closed" and not c.goes_on():
            got = f"{got}, and the connection does not go on"
        if got == "nothing" and "nothing" in expected and not c.goes_on():
            got = "nothing, and the connection does not go on"
        return got
    except AssertionError as error:
        return f"failed: {error!r}"
    finally:
        c.close()
