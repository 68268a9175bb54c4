"""What a part announces, and who is connected to it."""

from __future__ import annotations

from MedSAMSlicerLib.app.signals import Signal


def test_everything_connected_is_called_in_the_order_of_connecting() -> None:
    called: list[tuple[str, int]] = []
    changed: Signal[[int]] = Signal()
    changed.connect(lambda number: called.append(("first", number)))
    changed.connect(lambda number: called.append(("second", number)))
    changed.emit(3)
    assert called == [("first", 3), ("second", 3)]


def test_what_is_disconnected_while_others_are_called_is_not_called_any_more() -> None:
    called: list[str] = []
    closing: Signal[[]] = Signal()

    def leave() -> None:
        disconnect()

    closing.connect(leave)
    disconnect = closing.connect(lambda: called.append("left"))
    closing.connect(lambda: called.append("stays"))
    closing.emit()
    assert called == ["stays"]
    leave()  # again: nothing happens
    closing.clear()
    closing.emit()
    assert called == ["stays"]
