"""What carries the messages: in this process, Ray, real nodes."""
