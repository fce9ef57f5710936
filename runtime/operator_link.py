"""The robot's end of the operator link: UDP, drained in bounded steps.

However much arrives, one step takes at most `DRAIN` datagrams a socket from the kernel and decodes the newest `KEEP` of
them; older ones are dropped and counted. Whoever sent a good message gets a socket connected to its address beside the
open one: the kernel prefers it, so that a flood of others fills another queue than the commander's beats. A flood under
the commander's own address is not kept apart. Nothing is answered that did not carry a right MAC.
"""

from __future__ import annotations

import contextlib
import socket
from collections import Counter, deque
from dataclasses import dataclass

from runtime.errors import Refused
from runtime.lease import Lease, Status
from runtime.network_stop import StopEndpoint
from runtime.operator_key import Address
from runtime.operator_message import (
    LARGEST,
    TO_ROBOT,
    Beat,
    Body,
    Challenge,
    Count,
    Kind,
    Message,
    OtherJoints,
    Pose,
    PoseForm,
    Reject,
    Take,
    decode,
    encode,
)
from runtime.teleop_sources import NetworkTeleop

DRAIN, KEEP = 256, 64
RECEIVE_BYTES = 1 << 20
"""Asked of the kernel, which grants what net.core.rmem_max allows."""
TELL_NS = 100_000_000
COMMANDER = frozenset({Kind.TAKE, Kind.BEAT, Kind.POSE, Kind.RELEASE, Kind.STOP})


@dataclass
class _Peer:
    """Somebody who sent a good message, and the socket connected to it."""

    address: Address | None = None
    socket: socket.socket | None = None


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    return made


class Link:
    """One bound address.

    Args:
        lease, teleop: of a link that commanders may use, else None.
        stop: the stop endpoint that listens here, else None.

    Raises:
        Refused: the address cannot be bound.

    Attributes:
        frames: accepted POSE messages since they were last taken away, those for other joints among them: whoever
            follows the stream has to know; they are counted as malformed all the same.
        dropped: datagrams thrown away unread because too many came.
    """

    def __init__(
        self, address: Address, key: bytes | None, form: PoseForm, *, lease: Lease | None = None,
        teleop: NetworkTeleop | None = None, stop: StopEndpoint | None = None,
    ) -> None:
        self._key, self._form = key, form
        self._lease, self._teleop, self._stop = lease, teleop, stop
        self._accept = TO_ROBOT - (frozenset() if teleop else COMMANDER) - (frozenset() if stop else {Kind.RESPONSE})
        self._newest: deque[tuple[bytes, Address]] = deque(maxlen=KEEP)
        self._commander, self._stopper = _Peer(), _Peer()
        self._nonce = self._sequence = self._told_ns = 0
        self._rejected: Counter[Reject] = Counter()
        self.frames: list[Message] = []
        self.dropped = 0
        self._socket = _socket()
        try:
            self._socket.bind(address)
        except OSError as error:
            self._socket.close()
            raise Refused("operator link", expected=f"a free address {address[0]}:{address[1]} of this computer",
                          found=str(error.strerror), what_to_do="end the other run, or give another --teleop-bind"
                          ) from error

    @property
    def files(self) -> list[socket.socket]:
        """For `select`."""
        peers = (self._commander.socket, self._stopper.socket)
        return [self._socket, *(peer for peer in peers if peer is not None)]

    @property
    def address(self) -> Address:
        """Where it listens."""
        host, port = self._socket.getsockname()
        return str(host), int(port)

    def close(self) -> None:
        """Let the address go."""
        for file in self.files:
            file.close()

    def count(self, which: Count) -> int:
        """How many messages were not taken, of one kind of reason."""
        counters = [self._rejected]
        if self._lease is not None:
            counters.append(self._lease.rejected)
        if self._stop is not None:
            counters.append(self._stop.rejected)
        return sum(number for counter in counters for reject, number in counter.items() if reject.count is which)

    def pump(self, now_ns: int) -> bool:
        """One bounded step; true when the kernel may hold more."""
        return any([self._drain(file, now_ns) for file in reversed(self.files)])

    def _drain(self, file: socket.socket, now_ns: int) -> bool:
        newest, taken = self._newest, 0
        with contextlib.suppress(OSError):  # nothing there, or an ICMP error of an earlier answer
            while taken < DRAIN:
                newest.append(file.recvfrom(LARGEST + 1))
                taken += 1
        self.dropped += max(0, taken - KEEP)
        while newest:
            self._handle(*newest.popleft(), now_ns)
        return taken == DRAIN

    def _handle(self, data: bytes, sender: Address, now_ns: int) -> None:
        message = decode(data, self._key, self._accept, self._form)
        if isinstance(message, Reject):
            self._rejected[message] += 1
        elif message.kind is Kind.RESPONSE:
            self._respond(message, sender, now_ns)
        elif isinstance(message.body, Take):
            self._take(message, message.body, sender, now_ns)
        else:
            self._command(message, sender, now_ns)

    def _respond(self, message: Message, sender: Address, now_ns: int) -> None:
        assert self._stop is not None
        reject = self._stop.respond(message, now_ns)
        if reject is None:
            self._attend(self._stopper, sender)
        if reject is not Reject.ENDPOINT:
            self._send(Kind.CHALLENGE, message.lease, Challenge(self._stop.challenge), sender, now_ns)

    def _take(self, message: Message, body: Take, sender: Address, now_ns: int) -> None:
        assert self._lease is not None
        status = self._lease.take(message, now_ns)
        if status is Status.GRANTED:
            self._nonce = body.nonce
            self._attend(self._commander, sender)
        self._send(Kind.LEASE, 0, self._lease.answer(status, body.nonce, 0, 0, 0, now_ns), sender, now_ns)

    def _command(self, message: Message, sender: Address, now_ns: int) -> None:
        assert self._lease is not None and self._teleop is not None
        if self._lease.judge(message, now_ns) is not None:
            return
        self._attend(self._commander, sender)
        if isinstance(message.body, Beat):
            self._teleop.beat(message.body)
        elif isinstance(message.body, Pose):
            self._teleop.pose(now_ns)
            self.frames.append(message)
        elif isinstance(message.body, OtherJoints):
            self._rejected[Reject.JOINTS] += 1
            self.frames.append(message)
        elif message.kind is Kind.STOP:
            self._teleop.stop()

    def tell(self, now_ns: int, mode: int, refusal: int, source: int) -> None:
        """Ten times a second, to whoever holds the lease: the mode, the latency, why a gesture did not count, and
        what the last one that did asked for."""
        lease = self._lease
        to = self._commander.address
        if lease is None or not lease.lease or to is None or now_ns - self._told_ns < TELL_NS:
            return
        self._told_ns = now_ns
        answer = lease.answer(Status.YOURS, self._nonce, mode, refusal, source, now_ns)
        self._send(Kind.LEASE, 0, answer, to, now_ns)

    def _attend(self, peer: _Peer, address: Address) -> None:
        """Give a peer a socket of its own, unless it has it. The port is shared for that moment only."""
        if peer.address == address:
            return
        if peer.socket is not None:
            peer.socket.close()
        peer.address, peer.socket = address, None
        own = _socket()
        try:
            for end in (self._socket, own):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            own.bind(self.address)
            own.connect(address)
            peer.socket = own
        except OSError:
            own.close()  # it goes on being heard on the open socket, among all the others
        finally:
            for end in self.files:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)

    def _send(self, kind: Kind, endpoint: int, body: Body, to: Address, now_ns: int) -> None:
        self._sequence += 1
        data = encode(Message(kind, 0, endpoint, self._sequence, now_ns, body), self._key)
        with contextlib.suppress(OSError):  # a full buffer or a route that is gone: the next one may go
            self._socket.sendto(data, to)
