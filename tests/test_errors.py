from __future__ import annotations

import pytest

from dadfi_fast import errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.DadfiError, 1),
        (errors.UsageError, 2),
        (errors.BackendMissing, 2),  # named by the user, cannot run: a wrong usage on this machine
        (errors.DataError, 2),
        (errors.NothingToDo, 3),
        (errors.CheckFailed, 4),
        (errors.WeightsError, 1),
        (errors.DiskError, 1),
        (errors.PhotoError, 1),
        (errors.UnsafePhoto, 1),
    ],
)
def test_exit_codes_are_those_of_the_manual(error: type[errors.DadfiError], code: int) -> None:
    assert error("x").exit_code == code


def test_every_error_of_ours_is_a_dadfi_error() -> None:
    ours = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)]
    assert len(ours) >= 10
    assert all(issubclass(e, errors.DadfiError) for e in ours)


def test_a_photo_that_is_refused_is_one_photo_not_the_run() -> None:
    assert issubclass(errors.UnsafePhoto, errors.PhotoError)
    assert not issubclass(errors.DiskError, errors.PhotoError)
