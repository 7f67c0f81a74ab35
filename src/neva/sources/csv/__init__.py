"""Tables of any hospital: CSV, Excel and Parquet, through a mapping."""
