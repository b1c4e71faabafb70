from training.runtime.launch import order_of


def test_whole_numbers_are_ints_again():
    """KFP hands every number of a JSON object over as a double; `range(300.0)` would fail in the stage."""
    parameters = {"draws": 300.0, "gate": {"min_frauds": 5.0, "margin": 0.05}, "groups": ["row", 2.0], "strict": True}
    order = order_of("evaluate", "fraud-1", "fraud", 1, "aa", "s3://x/runs/fraud-1/evaluate/1/aa", {}, parameters)
    assert order.parameters == {
        "draws": 300,
        "gate": {"min_frauds": 5, "margin": 0.05},
        "groups": ["row", 2],
        "strict": True,
    }
    assert [type(order.parameters["draws"]), type(order.parameters["strict"])] == [int, bool]
