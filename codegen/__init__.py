"""From a spec to a built project: graph, passes, plan, emission, build."""
