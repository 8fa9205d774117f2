import random

import pytest

from dinoport.formats.torch.pickle_machine import MAX_GAP, PickleMemo


def test_it_is_a_dict_whatever_the_numbers_are():
    chance = random.Random(5)  # noqa: S311  # the same numbers each time
    for _ in range(300):
        memo, expected = PickleMemo(), {}
        for number in range(40):
            near = len(memo) + chance.choice([0, 0, 0, 1, MAX_GAP, MAX_GAP + 1, MAX_GAP + 2, -1])
            index = chance.choice([max(near, 0), near + 5 if near >= 0 else 0, chance.randrange(60), 2**40])
            value = object() if number % 7 else None
            memo.put(index, value)
            expected[index] = value
            assert len(memo) == len(expected)
        for index in [*range(120), 2**40, 2**40 + 1, -1]:
            if index in expected:
                assert memo.get(index) is expected[index]
            else:
                with pytest.raises(KeyError):
                    memo.get(index)
