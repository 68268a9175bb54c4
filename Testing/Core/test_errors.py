"""Errors carry in fields what code has to know of them."""

from __future__ import annotations

import pickle

from MedSAMSlicerLib.core.errors import (
    InsufficientMemoryError,
    ObjectError,
    PromptError,
    SeveralSeriesError,
    VolumeError,
)


def test_an_object_is_named_as_the_user_knows_it() -> None:
    error = ObjectError("There are no prompts for {object} on slice 3.", "object-7")
    assert str(error) == "There are no prompts for 'object-7' on slice 3."
    assert str(error.named("Left {kidney}")) == "There are no prompts for 'Left {kidney}' on slice 3."
    assert isinstance(error.named("liver"), PromptError)


def test_an_error_of_another_process_keeps_its_fields() -> None:
    error = pickle.loads(pickle.dumps(ObjectError("No prompt is inside {object}.", "liver")))
    assert (error.object_name, str(error)) == ("liver", "No prompt is inside 'liver'.")


def test_several_series_are_listed_by_field_and_in_the_sentence() -> None:
    error = SeveralSeriesError("DATA", ["CT (40 images), UID 1.2", "CT (38 images), UID 1.3"])
    assert isinstance(error, VolumeError)
    assert error.listing == ("CT (40 images), UID 1.2", "CT (38 images), UID 1.3")
    assert str(error).startswith("DATA holds 2 series, choose one by its UID: CT (40 images), UID 1.2; CT")


def test_a_run_without_room_says_whether_less_will_do() -> None:
    error = InsufficientMemoryError.for_run(8_000_000_000, 3_000_000_000, "close other programs", True)
    assert error.less_will_do
    assert str(error) == (
        "This run needs about 8.0 GB of memory, but only 3.0 GB are free: close other programs."
    )
    assert not InsufficientMemoryError("There is not enough memory.").less_will_do
