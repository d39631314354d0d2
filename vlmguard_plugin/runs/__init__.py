"""What hosts leave behind: `facts` of a run and `answers`, found by `readers`, all of it judged by `collect`."""
