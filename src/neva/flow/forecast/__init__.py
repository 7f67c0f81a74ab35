"""How many patients there will be, and how good such forecasts were."""
