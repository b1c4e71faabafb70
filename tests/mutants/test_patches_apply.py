"""`make mutants` breaks the source on purpose; a patch that no longer applies would prove nothing."""

from pathlib import Path

import pytest
from mutations import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_patch_applies_exactly_once_and_still_compiles(mutant: Mutant) -> None:
    """After a change of the source, the patch is to be changed with it."""
    source = (ROOT / mutant.file).read_text()
    assert source.count(mutant.old) == 1
    broken = source.replace(mutant.old, mutant.new)
    assert broken != source
    compile(broken, mutant.file, "exec")


def test_each_mutant_breaks_something_else() -> None:
    """Names and patches are distinct, and there are enough of them."""
    assert len({mutant.name for mutant in MUTANTS}) == len({(m.file, m.old, m.new) for m in MUTANTS}) == len(MUTANTS)
    assert len(MUTANTS) >= 50
