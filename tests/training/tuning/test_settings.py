"""The space of a search: ranges and choices are checked against the trainer when the file is read."""

import pytest
from pydantic import ValidationError

from shoal_training.frameworks.scikit_learn import ScikitLearn
from shoal_training.tuning.settings import Range, Tuning, check_space, with_settings

FOREST = ScikitLearn(algorithm="random_forest", parameters={"max_depth": 3})


def test_settings_lead_into_fields_by_dots() -> None:
    found = with_settings(FOREST, {"parameters.n_estimators": 7, "algorithm": "extra_trees"})
    assert found == ScikitLearn(algorithm="extra_trees", parameters={"max_depth": 3, "n_estimators": 7})
    assert FOREST.parameters == {"max_depth": 3}, "the one that is given stays"


def test_a_setting_that_the_trainer_has_not_is_said() -> None:
    check_space(Tuning.model_validate({"space": {"parameters.max_depth": [1, 2]}}), FOREST)
    with pytest.raises(ValueError, match=r"tuning.space: epochs: there is no such field|tuning.space: epochs"):
        check_space(Tuning.model_validate({"space": {"epochs": [1]}}), FOREST)
    with pytest.raises(ValueError, match="no algorithm is called 'tree'"):
        check_space(Tuning.model_validate({"space": {"algorithm": ["tree"]}}), FOREST)
    with pytest.raises(ValueError, match="algorithm of sklearn holds no fields"):
        check_space(Tuning.model_validate({"space": {"algorithm.depth": [1]}}), FOREST)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"low": 2, "high": 1}, "expected a low below a high"),
        ({"low": 1}, "expected a low below a high"),
        ({"low": 0, "high": 1, "log": True}, "`log` needs a low above 0"),
        ({"choices": [1], "low": 1}, "leave one out"),
    ],
)
def test_a_range_that_is_none_is_refused(fields: dict[str, object], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        Range.model_validate(fields)
