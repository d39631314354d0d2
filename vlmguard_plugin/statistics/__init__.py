"""What is counted of answers (`measures`), its `rates`, how two of them differ (`differences`), all at `levels`."""
