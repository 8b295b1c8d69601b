"""The parts of the page that ``trajectory_figure`` draws. Needs matplotlib."""
