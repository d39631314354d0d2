"""What is counted of answers (`measures`), the rates of it (`rates`) and how two rates differ (`differences`)."""
