"""Every limit of the service, in one table; `anyrestore serve` has an option for each that people change."""

from __future__ import annotations

from dataclasses import dataclass

MiB = 2**20


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the service is, and how much it takes.

    Attributes:
        host: the address to listen on; any but that of this machine alone needs a token.
        port: the port; 0 takes a free one.
        token: what clients must show (`Authorization: Bearer ...`); None asks for nothing.
        insecure: listen on other addresses without a token all the same.
        hosts: names under which the service may be called (the Host header), beside those of this machine.
        origins: web pages of other origins that may call it from a browser (CORS); never all of them.
        page: whether there is a page at /.
        models: names of the zoo, or weights files, that clients may choose; the first is the default. A file
            is called by its name without the extension.
        device: "auto", "cpu", "cuda" or "mps".
        threads: CPU threads of one worker; None for all cores.
        workers: processes that compute, each with its own copy of the models.
        queue: orders that may wait beside those being worked on.
        max_bytes: of one upload.
        max_pixels: of one picture.
        pixels_in_flight: of all pictures that are let in and not answered.
        bytes_in_flight: of all uploads that are being received or wait.
        worker_memory: bytes that one worker may occupy.
        scratch: whether feature maps of large pictures may lie in nameless files of a disk (`Restorer`'s
            scratch folder); otherwise these go in tiles, in twice the time.
        header_seconds: until a request's headers must be here, from the connection's start.
        body_seconds: until its body must be here.
        send_seconds: that a client may take to read an answer.
        idle_seconds: that a connection may stay open between requests.
        request_seconds: from a picture's admission to its answer, and beside them...
        seconds_per_megapixel: ...these for each million of its pixels.
        drain_seconds: that accepted orders have when the service is told to end.
        connections: that may be open at once.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    insecure: bool = False
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    page: bool = True
    models: tuple[str, ...] = ("cea-t",)
    device: str = "auto"
    threads: int | None = None
    workers: int = 2
    queue: int = 8
    max_bytes: int = 25 * MiB
    max_pixels: int = 32_000_000
    pixels_in_flight: int = 128_000_000
    bytes_in_flight: int = 256 * MiB
    worker_memory: int = 700 * MiB
    scratch: bool = True
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    send_seconds: float = 30.0
    idle_seconds: float = 5.0
    request_seconds: float = 60.0
    seconds_per_megapixel: float = 6.0
    drain_seconds: float = 30.0
    connections: int = 512

    def seconds_for(self, pixels: int) -> float:
        """That a picture of so many pixels has, from its admission to its answer."""
        return self.request_seconds + self.seconds_per_megapixel * pixels / 1e6
