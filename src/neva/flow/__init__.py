"""Where patients are and will be: trajectories, forecasts, simulation."""

__all__: list[str] = []
