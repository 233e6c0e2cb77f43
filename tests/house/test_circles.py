"""No module of the hub imports itself by way of others, also not from inside a function or for types alone."""

from graphlib import TopologicalSorter

import grimp


def test_the_hub_s_modules_import_one_another_in_one_direction() -> None:
    graph = grimp.build_graph("shoal_hub")
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > 100
    order = list(TopologicalSorter(imports).static_order())  # raises CycleError, which names the circle
    assert len(order) == len(imports)
