"""What tests of connections need to know."""

import pytest

from anyrestore.server.protocol import DeadlineProtocol


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what the service has taken from its clients' connections."""
    sizes = list[int]()
    real = DeadlineProtocol.data_received

    def note(self: DeadlineProtocol, data: bytes) -> None:
        sizes.append(len(data))
        real(self, data)

    monkeypatch.setattr(DeadlineProtocol, "data_received", note)
    return sizes
